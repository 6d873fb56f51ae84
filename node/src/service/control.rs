//! The operator's one call.

use std::sync::Arc;

use tonic::{Request, Response, Status};
use weft_proto::v1::{Inventory, OrderRequest, control_server};

use super::caller::{Gate, Service};
use crate::member::{Identity, Member, Order};

#[derive(Debug)]
pub(super) struct Control {
    pub(super) gate: Gate,
    pub(super) member: Arc<Member>,
}

#[tonic::async_trait]
impl control_server::Control for Control {
    async fn order(&self, request: Request<OrderRequest>) -> Result<Response<Inventory>, Status> {
        self.gate.admit(&request, Service::Control)?;
        let request = request.into_inner();
        let meant = self.member.is_meant(request.identity.as_ref())?;
        let order = Order::parse(&request)?;
        let obeyed = if meant { self.member.obey(order).await } else { Ok(None) };
        let retire = match obeyed {
            Err(error) if error.is_old_term() => return Err(self.member.refuse_old(error)?),
            // It can obey nothing any more; that it says so lets it be replaced.
            Err(error) if error.is_read_only() => None,
            obeyed => obeyed?,
        };
        if let Some(retire) = retire {
            let member = self.member.clone();
            tokio::spawn(async move {
                if let Err(error) = member.retire(retire).await {
                    tracing::warn!(%error, "copies could not be dropped");
                }
            });
        }
        let member = self.member.clone();
        let inventory = weft_client::apart(move || member.inventory()).await;
        Ok(Response::new(inventory.map_err(|error| Status::internal(error.to_string()))??))
    }
}

/// Says that the volume is another's (R1).
#[derive(Debug)]
pub(super) struct ForeignControl {
    pub(super) gate: Gate,
    pub(super) found: Identity,
}

#[tonic::async_trait]
impl control_server::Control for ForeignControl {
    async fn order(&self, request: Request<OrderRequest>) -> Result<Response<Inventory>, Status> {
        self.gate.admit(&request, Service::Control)?;
        Ok(Response::new(Member::foreign_inventory(&self.found)))
    }
}
