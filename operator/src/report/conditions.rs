//! Conditions: a status, a reason, a message, and since when.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use weft_planner::Truth;

/// What is said of one condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub status: Truth,
    pub reason: &'static str,
    pub message: String,
}

impl Said {
    pub fn yes(reason: &'static str, message: String) -> Self {
        Self { status: Truth::True, reason, message }
    }

    pub fn no(reason: &'static str, message: String) -> Self {
        Self { status: Truth::False, reason, message }
    }

    pub fn unknown(reason: &'static str, message: String) -> Self {
        Self { status: Truth::Unknown, reason, message }
    }
}

impl From<weft_planner::Condition> for Said {
    fn from(condition: weft_planner::Condition) -> Self {
        let weft_planner::Condition { status, reason, message } = condition;
        Self { status, reason, message }
    }
}

/// Sets a condition. Its time of transition changes only when its status flips.
pub fn set(conditions: &mut Vec<Condition>, kind: &str, said: &Said, generation: Option<i64>, now: Timestamp) {
    let status = match said.status {
        Truth::True => "True",
        Truth::False => "False",
        Truth::Unknown => "Unknown",
    };
    let before = conditions.iter().position(|condition| condition.type_ == kind);
    let since = before.map(|at| &conditions[at]).filter(|before| before.status == status);
    let since = since.map_or(Time(now), |before| before.last_transition_time.clone());
    let condition = Condition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: said.reason.to_owned(),
        message: said.message.clone(),
        observed_generation: generation,
        last_transition_time: since,
    };
    match before {
        Some(at) => conditions[at] = condition,
        None => conditions.push(condition),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_flip_changes_the_time() {
        let at = |second| Timestamp::from_second(second).expect("in range");
        let mut conditions = Vec::new();
        set(&mut conditions, "Ready", &Said::no("Starting", String::new()), Some(1), at(10));
        set(&mut conditions, "Ready", &Said::no("Repairing", "2 left".to_owned()), Some(2), at(20));
        assert_eq!(conditions[0].last_transition_time, Time(at(10)));
        assert_eq!((conditions[0].reason.as_str(), conditions[0].observed_generation), ("Repairing", Some(2)));
        set(&mut conditions, "Ready", &Said::yes("Whole", String::new()), Some(2), at(30));
        assert_eq!((conditions.len(), conditions[0].last_transition_time.clone()), (1, Time(at(30))));
    }
}
