//! The accusations that this member stands by (R29).

use weft_protocol::{Accusation, Incarnation, MemberId};
use weft_store::Room;

use super::{Member, MemberError, records};

impl Member {
    /// Accusations of incarnations that the newest view seats.
    pub fn accusations(&self) -> Result<Vec<Accusation>, MemberError> {
        let Some(newest) = self.newest() else { return Ok(Vec::new()) };
        let mut accusations = records::accusations(&self.store.view())?;
        accusations.retain(|accusation| accusation.check(&newest.view).is_ok());
        Ok(accusations)
    }

    /// Stands by an accusation from now on. The first of an incarnation stays: what is told of it comes to rest.
    pub(crate) async fn accuse(&self, accusation: Accusation) -> Result<(), MemberError> {
        let write = self.store.write(Room::Reserved, move |tx| {
            let mut accusations = records::accusations(tx)?;
            let of = |accusation: &Accusation| accusation.incarnation();
            if accusations.iter().all(|other| of(other) != of(&accusation)) {
                // Those of the member's earlier incarnations are of no use any more.
                accusations.retain(|other| other.accused() != accusation.accused());
                accusations.push(accusation);
                records::put_accusations(tx, &accusations);
            }
            Ok::<_, MemberError>(())
        });
        write.await?;
        Ok(())
    }

    /// Takes back what was said of an incarnation, if anything was.
    pub(crate) async fn acquit(&self, member: MemberId, incarnation: Incarnation) -> Result<(), MemberError> {
        let of = move |accusation: &Accusation| accusation.incarnation() == Some((member, incarnation));
        if !self.accusations()?.iter().any(of) {
            return Ok(());
        }
        let write = self.store.write(Room::Reserved, move |tx| {
            let mut accusations = records::accusations(tx)?;
            accusations.retain(|accusation| !of(accusation));
            records::put_accusations(tx, &accusations);
            Ok::<_, MemberError>(())
        });
        write.await?;
        tracing::info!(%member, %incarnation, "challenge: the accusation is taken back");
        Ok(())
    }
}
