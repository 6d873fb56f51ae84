//! Leaves that another authority signs: what is asked of it, and whether what it gave will do.

use std::sync::Arc;

use jiff::Timestamp;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PublicKeyData};
use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
    server::WebPkiClientVerifier,
};
use thiserror::Error;
use weft_protocol::FleetId;
use x509_parser::{extensions::GeneralName, prelude::FromDer};

use super::{CertError, Role};

/// Why a leaf that was given can't be used: the others would refuse whoever shows it.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Unfit {
    #[error("it isn't a certificate in PEM")]
    Pem,
    #[error("it is of another key than was asked for")]
    OtherKey,
    #[error(
        "it lacks the name {name}, which was asked for: the issuer has to allow URIs and DNS names as they are asked for"
    )]
    Name { name: String },
    #[error("it doesn't hold under the authority that came with it: {reason}")]
    Chain { reason: String },
}

/// A new key, as PEM.
pub fn new_key() -> Result<String, CertError> {
    let made = KeyPair::generate().map_err(|source| CertError::Key { subject: "a request".to_owned(), source })?;
    Ok(made.serialize_pem())
}

/// What an authority is asked to sign (RFC 2986), as PEM.
pub fn request(fleet: FleetId, role: Role, names: &[String], key: &str) -> Result<String, CertError> {
    let uri = role.uri(fleet);
    let key = KeyPair::from_pem(key).map_err(|source| CertError::Key { subject: uri.clone(), source })?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    if let Some(name) = names.first() {
        // A name that issuers let in where they let it in as an alternative one.
        params.distinguished_name.push(DnType::CommonName, name.chars().take(64).collect::<String>());
    }
    super::be_of_leaf(&mut params, &uri, names)?;
    let signed = params.serialize_request(&key).map_err(|source| CertError::Sign { subject: uri.clone(), source })?;
    signed.pem().map_err(|source| CertError::Sign { subject: uri, source })
}

/// Checks a leaf (PEM, with its chain) against the authority that came with it, the key and the names that were asked for.
pub fn check(
    (leaf, authority): (&str, &str),
    key: &str,
    (fleet, role, names): (FleetId, Role, &[String]),
    now: Timestamp,
) -> Result<(), Unfit> {
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(leaf.as_bytes()).collect::<Result<_, _>>().map_err(|_| Unfit::Pem)?;
    let (first, rest) = chain.split_first().ok_or(Unfit::Pem)?;
    let (_, parsed) = x509_parser::certificate::X509Certificate::from_der(first).map_err(|_| Unfit::Pem)?;
    let own = KeyPair::from_pem(key).map_err(|_| Unfit::OtherKey)?;
    if parsed.public_key().raw != own.subject_public_key_info() {
        return Err(Unfit::OtherKey);
    }
    let told = parsed.subject_alternative_name().ok().flatten();
    let told: Vec<&str> = told.iter().flat_map(|told| &told.value.general_names).filter_map(named).collect();
    let uri = role.uri(fleet);
    if let Some(name) = std::iter::once(&uri).chain(names).find(|name| !told.contains(&name.as_str())) {
        return Err(Unfit::Name { name: name.clone() });
    }
    holds(first, rest, authority, names, now).map_err(|reason| Unfit::Chain { reason })
}

fn named<'a>(name: &GeneralName<'a>) -> Option<&'a str> {
    match name {
        GeneralName::URI(text) | GeneralName::DNSName(text) => Some(text),
        _ => None,
    }
}

/// As peers check it: everyone calls and is called.
fn holds(
    leaf: &CertificateDer<'_>,
    chain: &[CertificateDer<'_>],
    authority: &str,
    names: &[String],
    now: Timestamp,
) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(authority.as_bytes()) {
        roots.add(root.map_err(|error| error.to_string())?).map_err(|error| error.to_string())?;
    }
    let (provider, roots) = (Arc::new(rustls::crypto::ring::default_provider()), Arc::new(roots));
    let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now.as_second().unsigned_abs()));
    let name = ServerName::try_from(names.first().map_or("", String::as_str)).map_err(|error| error.to_string())?;
    let servers = WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider)).build();
    let servers = servers.map_err(|error| error.to_string())?;
    servers.verify_server_cert(leaf, chain, &name, &[], at).map_err(|error| format!("for a server: {error}"))?;
    let clients = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
    let clients = clients.map_err(|error| error.to_string())?;
    clients.verify_client_cert(leaf, chain, at).map(drop).map_err(|error| format!("for a client: {error}"))
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use rcgen::{BasicConstraints, CertificateSigningRequestParams, ExtendedKeyUsagePurpose, IsCa, Issuer, SanType};

    use super::*;
    use crate::certs::MEMBER_NAME;

    const FLEET: FleetId = FleetId([7; 16]);
    const ROLE: Role = Role::Member { id: 3, incarnation: 2 };

    fn authority() -> (String, Issuer<'static, KeyPair>) {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::from_ca_cert_pem(&certificate, key).unwrap();
        (certificate, issuer)
    }

    #[test]
    fn what_is_signed_as_it_was_asked_for_will_do_and_nothing_else() {
        let (names, now) = ([MEMBER_NAME.to_owned()], Timestamp::now());
        let ((ours, issuer), (theirs, _)) = (authority(), authority());
        let (key, other) = (new_key().unwrap(), new_key().unwrap());
        let asked = request(FLEET, ROLE, &names, &key).unwrap();
        let given = CertificateSigningRequestParams::from_pem(&asked).unwrap();
        let leaf = given.signed_by(&issuer).unwrap().pem();
        let wanted = (FLEET, ROLE, &names[..]);
        assert_eq!(check((&leaf, &ours), &key, wanted, now), Ok(()));
        assert_eq!(check((&leaf, &ours), &other, wanted, now), Err(Unfit::OtherKey));
        assert_eq!(check(("", &ours), &key, wanted, now), Err(Unfit::Pem));
        assert!(matches!(check((&leaf, &theirs), &key, wanted, now), Err(Unfit::Chain { .. })));
        let late = now + SignedDuration::from_hours(3_000 * 365 * 24);
        assert!(matches!(check((&leaf, &ours), &key, wanted, late), Err(Unfit::Chain { .. })));

        let mut bare = CertificateSigningRequestParams::from_pem(&asked).unwrap();
        bare.params.subject_alt_names.retain(|name| matches!(name, SanType::DnsName(_)));
        let leaf = bare.signed_by(&issuer).unwrap().pem();
        let name = ROLE.uri(FLEET);
        assert_eq!(check((&leaf, &ours), &key, wanted, now), Err(Unfit::Name { name }));

        let mut one_way = CertificateSigningRequestParams::from_pem(&asked).unwrap();
        one_way.params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let leaf = one_way.signed_by(&issuer).unwrap().pem();
        assert!(matches!(check((&leaf, &ours), &key, wanted, now), Err(Unfit::Chain { .. })));
    }
}
