//! Challenges: what is said before one, what is closed for one, and the answer (R28).

use std::{sync::Arc, time::Duration};

use tonic::{Request, Response, Status};
use weft_proto::v1::{
    ChallengeReply, ChallengeRequest, CloseReply, CloseRequest, LacksReply, LacksRequest, challenges_server,
};
use weft_protocol::{MemberId, Round};

use super::{
    blob,
    caller::{Caller, Gate, Role, Service},
    malformed,
};
use crate::{
    challenge,
    member::{DigestKind, Member},
};

#[derive(Debug)]
pub(super) struct Challenges {
    pub(super) gate: Gate,
    pub(super) member: Arc<Member>,
}

#[tonic::async_trait]
impl challenges_server::Challenges for Challenges {
    async fn lacks(&self, request: Request<LacksRequest>) -> Result<Response<LacksReply>, Status> {
        self.gate.admit(&request, Service::Challenges)?;
        Ok(Response::new(challenge::lacks(&self.member, DigestKind::read(request.into_inner().digest_kind)).await?))
    }

    async fn close(&self, request: Request<CloseRequest>) -> Result<Response<CloseReply>, Status> {
        let (challenger, _) = as_member(self.gate.admit(&request, Service::Challenges)?)?;
        let CloseRequest { challenged, blobs, for_ms } = request.into_inner();
        let (challenged, now) = (MemberId(challenged), self.member.env().clock.now());
        let blobs = blobs.iter().map(|bytes| blob(bytes)).collect::<Result<Vec<_>, _>>()?;
        let mut closings = self.member.closings();
        if for_ms == 0 {
            closings.open(challenger, challenged, now);
            return Ok(Response::new(CloseReply { closed: false }));
        }
        let length = Duration::from_millis(for_ms.into());
        Ok(Response::new(CloseReply { closed: closings.close(challenger, challenged, &blobs, length, now) }))
    }

    async fn challenge(&self, request: Request<ChallengeRequest>) -> Result<Response<ChallengeReply>, Status> {
        let caller = as_member(self.gate.admit(&request, Service::Challenges)?)?;
        let round = Round::decode(&request.into_inner().round).map_err(|error| malformed(&error))?;
        Ok(Response::new(challenge::answer(&self.member, caller, &round).await?))
    }
}

fn as_member(caller: Caller) -> Result<(MemberId, u32), Status> {
    match caller.role {
        Role::Member { member, incarnation } => Ok((member, incarnation)),
        Role::Operator | Role::Gateway => Err(Status::permission_denied("only members challenge")),
    }
}
