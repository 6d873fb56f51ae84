//! Who calls, by the certificate of the connection, and what callers may call: one table.

use tonic::{Request, Status};
use weft_protocol::{FleetId, MemberId};
use weft_redstuff::BlobId;
use x509_parser::{extensions::GeneralName, parse_x509_certificate};

use super::connection::Named;
use crate::member::Member;

/// What a certificate makes its holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Operator,
    Gateway,
    Member { member: MemberId, incarnation: u32 },
}

/// The caller of a request. A simulation without TLS puts it into the request's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    pub fleet: FleetId,
    pub role: Role,
}

/// A group of calls with one rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    Control,
    Writes,
    Reads,
    Peers,
    Challenges,
}

impl Role {
    /// The table.
    fn may_call(self, service: Service) -> bool {
        match service {
            Service::Control => matches!(self, Self::Operator),
            Service::Writes => matches!(self, Self::Gateway),
            Service::Reads => true,
            Service::Peers | Service::Challenges => matches!(self, Self::Member { .. }),
        }
    }
}

impl Caller {
    /// From a URI of the form `weft://<fleet>/operator`, `…/gateway` or `…/member/<id>/<incarnation>`.
    pub fn from_uri(uri: &str) -> Option<Self> {
        let mut parts = uri.strip_prefix("weft://")?.split('/');
        let fleet = parts.next()?.parse().ok()?;
        let role = match parts.next()? {
            "operator" => Role::Operator,
            "gateway" => Role::Gateway,
            "member" => {
                Role::Member { member: MemberId(parts.next()?.parse().ok()?), incarnation: parts.next()?.parse().ok()? }
            }
            _ => return None,
        };
        parts.next().is_none().then_some(Self { fleet, role })
    }

    /// Whether a blob's slivers aren't to be served to this caller now: it is being challenged on it (R28).
    pub(crate) fn is_closed(self, at: &Member, blob: &BlobId) -> bool {
        match self.role {
            Role::Operator | Role::Gateway => false,
            Role::Member { member, .. } => at.closings().is_closed(member, blob, at.env().clock.now()),
        }
    }

    pub(super) fn from_certificate(der: &[u8]) -> Option<Self> {
        let (_, certificate) = parse_x509_certificate(der).ok()?;
        let names = certificate.subject_alternative_name().ok()??;
        names.value.general_names.iter().find_map(|name| match name {
            GeneralName::URI(uri) => Self::from_uri(uri),
            _ => None,
        })
    }

    fn of<T>(request: &Request<T>) -> Option<Self> {
        let extensions = request.extensions();
        extensions.get::<Self>().copied().or_else(|| *extensions.get::<Named>()?)
    }
}

/// Lets callers of one fleet in, by the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gate {
    pub(crate) fleet: FleetId,
}

impl Gate {
    pub(crate) fn admit<T>(self, request: &Request<T>, service: Service) -> Result<Caller, Status> {
        let caller =
            Caller::of(request).ok_or_else(|| Status::unauthenticated("the certificate names no role in a fleet"))?;
        if caller.fleet != self.fleet {
            return Err(Status::permission_denied(format!(
                "the caller is of fleet {}, not of {}",
                caller.fleet, self.fleet
            )));
        }
        if caller.role.may_call(service) {
            return Ok(caller);
        }
        Err(Status::permission_denied(format!("{:?} may not call {service:?}", caller.role)))
    }

    /// [`Gate::admit`], for what clients wait for: repair gives way to it.
    pub(crate) fn admit_foreground<T>(
        self,
        request: &Request<T>,
        service: Service,
        member: &Member,
    ) -> Result<Caller, Status> {
        let caller = self.admit(request, service)?;
        if caller.role == Role::Gateway {
            member.foreground().note();
        }
        Ok(caller)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_read_from_uris() {
        let fleet = FleetId([7; 16]);
        let caller = |rest: &str| Caller::from_uri(&format!("weft://{fleet}/{rest}"));
        assert_eq!(caller("operator"), Some(Caller { fleet, role: Role::Operator }));
        let role = Role::Member { member: MemberId(3), incarnation: 2 };
        assert_eq!(caller("member/3/2"), Some(Caller { fleet, role }));
        for wrong in ["", "member/3", "member/x/1", "operator/1", "root"] {
            assert_eq!(caller(wrong), None, "{wrong}");
        }
        assert_eq!(Caller::from_uri("weft://07/operator"), None);
    }

    #[test]
    fn only_the_operator_orders_and_only_gateways_write() {
        let member = Role::Member { member: MemberId(0), incarnation: 1 };
        let may = |service| [Role::Operator, Role::Gateway, member].map(|role| role.may_call(service));
        assert_eq!(may(Service::Control), [true, false, false]);
        assert_eq!(may(Service::Writes), [false, true, false]);
        assert_eq!(may(Service::Peers), [false, false, true]);
        assert_eq!(may(Service::Challenges), [false, false, true]);
    }
}
