//! Members that don't tell each other the fleet's time: only orders do (R15).

use std::sync::Arc;

use axum::{body::Body, extract::Request, middleware::Next, response::Response};
use bytes::Bytes;
use http_body_util::{BodyExt, Collected};
use prost::Message;
use weft_proto::v1::{ExchangeReply, ExchangeRequest};

use super::Front;

const EXCHANGE: &str = "/weft.node.v1.Peers/Exchange";

/// What exchanges with the member behind it say of time gets lost, both ways.
pub(crate) fn timeless() -> Front {
    let between = |request: Request, next: Next| async move {
        if request.uri().path() != EXCHANGE {
            return next.run(request).await;
        }
        let (parts, body) = request.into_parts();
        let body = changed(body, |request: &mut ExchangeRequest| request.time_floor = Bytes::new()).await;
        let (parts, body) = next.run(Request::from_parts(parts, body)).await.into_parts();
        let body = changed(body, |reply: &mut ExchangeReply| reply.time_floor = Bytes::new()).await;
        Response::from_parts(parts, body)
    };
    Arc::new(move |_, routes| routes.into_axum_router().layer(axum::middleware::from_fn(between)).into())
}

/// A body of one gRPC message, changed; its trailers stay.
pub(super) async fn changed<M: Message + Default>(body: Body, change: impl FnOnce(&mut M)) -> Body {
    let collected: Collected<Bytes> = body.collect().await.expect("a short body");
    let trailers = collected.trailers().cloned();
    let bytes = collected.to_bytes();
    // A flag and four bytes of length come before the message; an error has none.
    let framed = bytes.get(5..).map_or_else(Bytes::new, |message| {
        let mut message = M::decode(message).expect("a message of this type");
        change(&mut message);
        let message = message.encode_to_vec();
        [&[0][..], &(message.len() as u32).to_be_bytes(), &message].concat().into()
    });
    let trailers = async move { trailers.map(Ok::<_, std::convert::Infallible>) };
    Body::new(http_body_util::Full::new(framed).with_trailers(trailers))
}
