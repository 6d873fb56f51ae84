//! A certificate authority for a test.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use weft_client::MEMBER_NAME;

pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "test fleet");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().expect("a key can be made");
        Self { issuer: CertifiedIssuer::self_signed(params, key).expect("the authority signs itself") }
    }

    /// The authority's certificate, PEM.
    pub(crate) fn pem(&self) -> Vec<u8> {
        self.issuer.pem().into_bytes()
    }

    /// Certificate and key, PEM, for a role given as a URI.
    pub(crate) fn issue(&self, uri: &str) -> (Vec<u8>, Vec<u8>) {
        let mut params = CertificateParams::new(vec![MEMBER_NAME.to_owned()]).expect("the name is one");
        params.subject_alt_names.push(SanType::URI(uri.try_into().expect("the URI is ASCII")));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params.signed_by(&key, &self.issuer).expect("the authority signs");
        (certificate.pem().into_bytes(), key.serialize_pem().into_bytes())
    }
}
