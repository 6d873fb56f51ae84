//! Network policies on a real API server: what they say, and that they go on saying it. Whether the flows are as they say is
//! tried on a cluster, in `e2e/tests/fleet/policies.rs`.

use std::{collections::BTreeMap, error::Error};

use k8s_openapi::{
    api::{apps::v1::Deployment, networking::v1::NetworkPolicy},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use weft_crds::StorageCommittee;
use weft_operator::{context::Context, reconcile::reconcile};

use crate::{Bench, HOME, Outcome, settle};

/// A committee with its pods, and the operator that made them.
async fn begun(namespace: &str) -> Result<(Bench, Context), Box<dyn Error>> {
    let bench = Bench::shared(namespace).await?;
    let operator = bench.operator();
    bench.apply("demo", "").await?;
    settle(&operator, &bench, "demo").await?;
    Ok((bench, operator))
}

async fn round(bench: &Bench, operator: &Context) -> Outcome {
    Ok(reconcile(operator, &bench.namespace, "demo").await.map(drop)?)
}

/// All policies, by name.
async fn stored(bench: &Bench) -> Result<BTreeMap<String, NetworkPolicy>, Box<dyn Error>> {
    Ok(bench.list::<NetworkPolicy>().await?.into_iter().map(|policy| (policy.name_any(), policy)).collect())
}

async fn spec(bench: &Bench, name: &str) -> Result<Value, Box<dyn Error>> {
    Ok(serde_json::to_value(bench.api::<NetworkPolicy>().get(name).await?.spec)?)
}

async fn change(bench: &Bench, name: &str, change: Value) -> Outcome {
    bench.api::<NetworkPolicy>().patch(name, &PatchParams::default(), &Patch::Merge(change)).await?;
    Ok(())
}

fn of(component: &str) -> Value {
    json!({"matchLabels": {"weft.dev/committee": "demo", "app.kubernetes.io/component": component}})
}

fn tcp(ports: &[u16]) -> Value {
    ports.iter().map(|port| json!({"protocol": "TCP", "port": port})).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn members_let_in_their_own_and_the_operator_and_gateways_everybody() -> Outcome {
    let (bench, operator) = begun("members-let-in-their-own-and-the-operator").await?;
    let operators = json!({
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": HOME}},
        "podSelector": {"matchLabels": {"app.kubernetes.io/component": "operator"}},
    });
    let to_members = json!({"to": [{"podSelector": of("member")}], "ports": tcp(&[7410])});
    let members = json!({
        "podSelector": of("member"),
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [
            {"from": [{"podSelector": of("member")}, {"podSelector": of("gateway")}, operators], "ports": tcp(&[7410])},
            {"ports": tcp(&[7411])},
        ],
        "egress": [to_members],
    });
    assert_eq!(spec(&bench, "demo-member").await?, members);
    let dns = [("UDP", 53), ("TCP", 53), ("UDP", 5353), ("TCP", 5353)];
    let dns = dns.map(|(protocol, port)| json!({"protocol": protocol, "port": port}));
    let gateways = |ports: &[u16]| {
        json!({
            "podSelector": of("gateway"),
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"ports": tcp(ports)}],
            "egress": [to_members, {"ports": dns}],
        })
    };
    assert_eq!(spec(&bench, "demo-gateway").await?, gateways(&[8443, 7411]));

    let open = Patch::Merge(json!({"spec": {"gateway": {"access": "Open"}}}));
    bench.api::<StorageCommittee>().patch("demo", &PatchParams::default(), &open).await?;
    round(&bench, &operator).await?;
    assert_eq!(spec(&bench, "demo-gateway").await?, gateways(&[8443, 7411, 8080]));
    assert_eq!(spec(&bench, "demo-member").await?, members);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_tells_of_requests_gets_out_to_the_collector_and_members_to_dns_if_it_has_a_name() -> Outcome {
    let (bench, operator) = begun("who-tells-of-requests-gets-out").await?;
    let silent = [spec(&bench, "demo-member").await?, spec(&bench, "demo-gateway").await?];
    let ports = |policy: &Value| -> Vec<i64> {
        let rules = policy["egress"].as_array().into_iter().flatten();
        let ports = rules.flat_map(|rule| rule["ports"].as_array().into_iter().flatten());
        ports.filter_map(|port| port["port"].as_i64()).collect()
    };
    let tell = async |tracing: Value| -> Result<[Value; 2], Box<dyn Error>> {
        let spec_of = Patch::Merge(json!({"spec": {"tracing": tracing}}));
        bench.api::<StorageCommittee>().patch("demo", &PatchParams::default(), &spec_of).await?;
        round(&bench, &operator).await?;
        Ok([spec(&bench, "demo-member").await?, spec(&bench, "demo-gateway").await?])
    };
    let [member, gateway] =
        tell(json!({"endpoint": "http://collector.traces:4317", "samplingRatePerMillion": 100})).await?;
    assert_eq!(ports(&member), [7410, 53, 53, 5353, 5353, 4317]);
    assert_eq!(ports(&gateway), [7410, 53, 53, 5353, 5353, 4317]);
    let gateways = bench.api::<Deployment>().get("demo-gateway").await?;
    let containers = gateways.spec.template.spec.map(|spec| spec.containers).unwrap_or_default();
    let env: BTreeMap<_, _> = containers
        .into_iter()
        .flat_map(|container| container.env.unwrap_or_default())
        .map(|variable| (variable.name, variable.value.unwrap_or_default()))
        .collect();
    assert_eq!(env["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"], "http://collector.traces:4317");
    assert_eq!(env["OTEL_TRACES_SAMPLER_ARG"], "0.0001");
    assert_eq!([&member["ingress"], &gateway["ingress"]], [&silent[0]["ingress"], &silent[1]["ingress"]]);
    let [member, _] = tell(json!({"endpoint": "http://192.0.2.7:55680"})).await?;
    assert_eq!(ports(&member), [7410, 55680], "an address is asked of nobody");
    assert_eq!(tell(Value::Null).await?, silent);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_are_put_right_whatever_others_do_and_else_left_alone() -> Outcome {
    let (bench, operator) = begun("policies-are-put-right-whatever-others-do").await?;
    round(&bench, &operator).await?;
    let before = stored(&bench).await?;
    for _ in 0..3 {
        round(&bench, &operator).await?;
    }
    assert_eq!(stored(&bench).await?, before, "in a steady state nothing is written");
    assert_eq!(before.keys().collect::<Vec<_>>(), ["demo-gateway", "demo-member"]);
    let committee = bench.committee("demo").await?.uid().ok_or("no UID")?;
    for policy in before.values() {
        let owners: Vec<&str> = policy.owner_references().iter().map(|owner| &*owner.uid).collect();
        assert_eq!(owners, [&committee]);
    }

    let holes = [
        json!({"spec": {"ingress": [{}]}}),
        json!({"spec": {"egress": [{}]}}),
        json!({"spec": {"policyTypes": ["Ingress"]}}),
        json!({"spec": {"podSelector": {"matchLabels": {"disk": "slow"}}}}),
        json!({"metadata": {"labels": {"weft.dev/committee": null}}}),
        json!({"metadata": {"ownerReferences": null}}),
    ];
    for hole in holes {
        for (name, wanted) in &before {
            change(&bench, name, hole.clone()).await?;
            round(&bench, &operator).await?;
            let after = bench.api::<NetworkPolicy>().get(name).await?;
            let said = |policy: &NetworkPolicy| {
                let meta = policy.metadata.clone();
                (policy.spec.clone(), meta.labels, meta.owner_references)
            };
            assert_eq!(said(&after), said(wanted), "after {hole}");
        }
    }
    bench.api::<NetworkPolicy>().delete("demo-member", &DeleteParams::default()).await?;
    round(&bench, &operator).await?;
    assert_eq!(stored(&bench).await?["demo-member"].spec, before["demo-member"].spec);

    // What is noted on one is no reason to write.
    change(&bench, "demo-member", json!({"metadata": {"annotations": {"team": "storage"}}})).await?;
    let noted = stored(&bench).await?;
    round(&bench, &operator).await?;
    assert_eq!(stored(&bench).await?, noted);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn where_there_shall_be_none_those_that_were_made_go_and_no_others() -> Outcome {
    let (bench, mut operator) = begun("where-there-shall-be-none-those-that-were").await?;
    let api = bench.api::<NetworkPolicy>();
    let mut other = api.get("demo-member").await?;
    let labels = other.metadata.labels.take();
    other.metadata = ObjectMeta { name: Some("by-hand".to_owned()), labels, ..ObjectMeta::default() };
    api.create(&PostParams::default(), &other).await?;
    assert_eq!(stored(&bench).await?.len(), 3);

    operator.operators = None;
    round(&bench, &operator).await?;
    let left = stored(&bench).await?;
    assert_eq!(left.keys().collect::<Vec<_>>(), ["by-hand"]);
    round(&bench, &operator).await?;
    assert_eq!(stored(&bench).await?, left);
    Ok(())
}
