//! The committee's own certificate authority (R27): its key, its leaves, and what they vouch for.
//!
//! A role is a URI in a leaf: `weft://<fleet>/operator`, `/gateway`, `/member/<id>/<incarnation>`. Members all answer
//! to the name [`MEMBER_NAME`]; which of them one talks to is told by the role and by the keys of the view.

mod bundle;
pub mod foreign;
mod names;

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use thiserror::Error;
use weft_protocol::FleetId;
use x509_parser::certificate::X509Certificate;

pub use bundle::Bundle;
pub use names::{MEMBER_NAME, Role, gateway_names};

/// A leaf lives for 30 days and is renewed daily, so an operator may be away for 29 (R27).
const LEAF_LIFE: SignedDuration = SignedDuration::from_hours(30 * 24);
const RENEW_AFTER: SignedDuration = SignedDuration::from_hours(24);
/// The authority outlives any committee that is likely; changing it is a person's decision.
const AUTHORITY_LIFE: SignedDuration = SignedDuration::from_hours(20 * 365 * 24);
/// Clocks differ: what is made now must be valid on a node that is somewhat behind.
const BACKDATED: SignedDuration = SignedDuration::from_hours(1);

/// Why a certificate could not be made or read.
#[derive(Debug, Error)]
pub enum CertError {
    #[error("make the key of {subject}")]
    Key { subject: String, source: rcgen::Error },
    #[error("write the name {name:?} into the certificate of {subject}")]
    Name { subject: String, name: String, source: rcgen::Error },
    #[error("sign the certificate of {subject}")]
    Sign { subject: String, source: rcgen::Error },
    #[error("read the authority's key")]
    AuthorityKey { source: rcgen::Error },
    #[error("read the authority's certificate")]
    AuthorityCertificate { source: rcgen::Error },
}

/// A certificate and its key, both as PEM.
#[derive(Clone)]
pub struct Leaf {
    pub certificate: String,
    pub key: String,
}

impl std::fmt::Debug for Leaf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leaf").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// The committee's authority.
pub struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

impl Authority {
    /// Makes a new authority for a fleet.
    pub fn create(fleet: FleetId, now: Timestamp) -> Result<Leaf, CertError> {
        let subject = format!("Weft fleet {fleet}");
        let mut params = params(&subject, now, AUTHORITY_LIFE);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().map_err(|source| CertError::Key { subject: subject.clone(), source })?;
        let certificate = params.self_signed(&key).map_err(|source| CertError::Sign { subject, source })?;
        Ok(Leaf { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// Takes up an authority that was made before.
    pub fn load(certificate: String, key: &str) -> Result<Self, CertError> {
        let key = KeyPair::from_pem(key).map_err(|source| CertError::AuthorityKey { source })?;
        let issuer =
            Issuer::from_ca_cert_pem(&certificate, key).map_err(|source| CertError::AuthorityCertificate { source })?;
        Ok(Self { certificate, issuer })
    }

    /// Whether a leaf names it as its issuer.
    pub fn has_signed(&self, leaf: &str) -> bool {
        has_signed(&self.certificate, leaf)
    }

    /// The authority's certificate, as PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Issues a leaf for a role, which also answers to `names`.
    pub fn issue(&self, fleet: FleetId, role: Role, names: &[String], now: Timestamp) -> Result<Leaf, CertError> {
        let uri = role.uri(fleet);
        let mut params = params(&uri, now, LEAF_LIFE);
        params.use_authority_key_identifier_extension = true;
        be_of_leaf(&mut params, &uri, names)?;
        let key = KeyPair::generate().map_err(|source| CertError::Key { subject: uri.clone(), source })?;
        let certificate =
            params.signed_by(&key, &self.issuer).map_err(|source| CertError::Sign { subject: uri.clone(), source })?;
        Ok(Leaf { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

/// What all leaves have, whoever signs them: they are for calling and for being called, and name a role's URI and the names that
/// it also answers to.
fn be_of_leaf(params: &mut CertificateParams, uri: &str, names: &[String]) -> Result<(), CertError> {
    let text = |name: &str| {
        name.try_into().map_err(|source| CertError::Name { subject: uri.to_owned(), name: name.to_owned(), source })
    };
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let names = names.iter().map(|name| Ok(SanType::DnsName(text(name)?)));
    params.subject_alt_names = std::iter::once(Ok(SanType::URI(text(uri)?))).chain(names).collect::<Result<_, _>>()?;
    Ok(())
}

/// Whether a leaf should be issued anew: it is a day old, or can't be read.
pub fn is_due(certificate: &str, now: Timestamp) -> bool {
    lifetime(certificate).is_none_or(|(from, _)| from + BACKDATED + RENEW_AFTER <= now)
}

/// Whether so much of a leaf's life is over, or it can't be read.
pub fn has_aged(certificate: &str, share: f64, now: Timestamp) -> bool {
    lifetime(certificate).is_none_or(|(from, to)| {
        let (age, life) = (now.duration_since(from).as_secs_f64(), to.duration_since(from).as_secs_f64());
        age >= share * life
    })
}

/// Whether a leaf names an authority as its issuer.
fn has_signed(authority: &str, leaf: &str) -> bool {
    let issuer = read(leaf, |leaf| leaf.issuer().as_raw().to_vec());
    issuer.is_some() && issuer == read(authority, |authority| authority.subject().as_raw().to_vec())
}

/// From when to when a certificate is valid.
pub(crate) fn lifetime(certificate: &str) -> Option<(Timestamp, Timestamp)> {
    let at = |time: x509_parser::time::ASN1Time| Timestamp::from_second(time.timestamp()).ok();
    read(certificate, |parsed| Some((at(parsed.validity().not_before)?, at(parsed.validity().not_after)?)))?
}

/// Reads something of the first certificate of a PEM text; `None`: there is none.
fn read<T>(text: &str, of: impl FnOnce(&X509Certificate<'_>) -> T) -> Option<T> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(text.as_bytes()).ok()?;
    pem.parse_x509().ok().map(|parsed| of(&parsed))
}

fn params(subject: &str, now: Timestamp, life: SignedDuration) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    // A common name has 64 characters at most; the whole truth is in the alternative names.
    params.distinguished_name.push(DnType::CommonName, subject.chars().take(64).collect::<String>());
    let at = |time: Timestamp| (std::time::UNIX_EPOCH + std::time::Duration::from_secs(time.as_second() as u64)).into();
    params.not_before = at(now - BACKDATED);
    params.not_after = at(now + life);
    params
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLEET: FleetId = FleetId([7; 16]);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    #[test]
    fn a_leaf_names_its_role_and_hosts() {
        let now = at(1_800_000_000);
        let made = Authority::create(FLEET, now).expect("an authority");
        let authority = Authority::load(made.certificate, &made.key).expect("the same authority");
        let role = Role::Member { id: 3, incarnation: 2 };
        let leaf = authority.issue(FLEET, role, &[MEMBER_NAME.to_owned()], now).expect("a leaf");
        let (_, pem) = x509_parser::pem::parse_x509_pem(leaf.certificate.as_bytes()).expect("PEM");
        let parsed = pem.parse_x509().expect("X.509");
        let names = parsed.subject_alternative_name().expect("one extension").expect("names");
        let names: Vec<String> = names.value.general_names.iter().map(ToString::to_string).collect();
        assert!(names.iter().any(|name| name.contains(&format!("weft://{FLEET}/member/3/2"))), "{names:?}");
        assert!(names.iter().any(|name| name.contains("member.weft")), "{names:?}");
    }

    #[test]
    fn a_leaf_is_due_after_a_day() {
        let now = at(1_800_000_000);
        let made = Authority::create(FLEET, now).expect("an authority");
        let authority = Authority::load(made.certificate, &made.key).expect("the same authority");
        let leaf = authority.issue(FLEET, Role::Gateway, &[], now).expect("a leaf");
        assert!(!is_due(&leaf.certificate, now + SignedDuration::from_hours(23)));
        assert!(is_due(&leaf.certificate, now + SignedDuration::from_hours(25)));
        assert!(is_due("no certificate", now));
    }

    #[test]
    fn a_leaf_ages_by_its_own_life() {
        let now = at(1_800_000_000);
        let made = Authority::create(FLEET, now).expect("an authority");
        let authority = Authority::load(made.certificate, &made.key).expect("the same authority");
        let leaf = authority.issue(FLEET, Role::Gateway, &[], now).expect("a leaf").certificate;
        let day = |days: i64| now + SignedDuration::from_hours(24 * days);
        assert!(!has_aged(&leaf, 2.0 / 3.0, day(19)) && has_aged(&leaf, 2.0 / 3.0, day(21)));
        assert!(has_aged("no certificate", 1.0, now));
    }
}
