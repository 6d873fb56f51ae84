//! The keys and certificates of a test cluster: one authority, made anew for each.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

/// A certificate authority that writes what it issues into one folder.
#[derive(Debug)]
pub(crate) struct Authority {
    folder: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, both PEM.
#[derive(Debug)]
pub(crate) struct Credentials {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// Why a certificate could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// The certificate itself.
    #[error("issue the certificate of {subject}")]
    Issue {
        /// Whose certificate.
        subject: String,
        /// Why.
        source: rcgen::Error,
    },
    /// Writing it down.
    #[error("write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Authority {
    /// Makes an authority and a service account key: `ca.crt`, `ca.key`, `sa.key`, `sa.pub` in `folder`.
    pub(crate) fn create(folder: &Path) -> Result<Self, PkiError> {
        let issue = |source| PkiError::Issue { subject: "the authority".to_owned(), source };
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "weft local kubernetes");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().map_err(issue)?;
        let key_pem = key.serialize_pem();
        let issuer = CertifiedIssuer::self_signed(params, key).map_err(issue)?;
        let service_accounts = KeyPair::generate().map_err(issue)?;

        write(&folder.join("ca.crt"), &issuer.pem())?;
        write(&folder.join("ca.key"), &key_pem)?;
        write(&folder.join("sa.key"), &service_accounts.serialize_pem())?;
        write(&folder.join("sa.pub"), &service_accounts.public_key_pem())?;
        Ok(Self { folder: folder.to_owned(), issuer })
    }

    /// The authority's own certificate, PEM.
    pub(crate) fn certificate(&self) -> String {
        self.issuer.pem()
    }

    /// A client certificate: Kubernetes takes the common name for the user and the organisation for the group.
    pub(crate) fn client(&self, user: &str, group: Option<&str>) -> Result<Credentials, PkiError> {
        self.sign(user, group, &[], ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// A serving certificate for names and addresses, written to `<file>.crt` and `<file>.key`.
    pub(crate) fn server(&self, file: &str, names: &[&str]) -> Result<(), PkiError> {
        let made = self.sign(file, None, names, ExtendedKeyUsagePurpose::ServerAuth)?;
        self.write(file, &made)
    }

    /// A client certificate written to `<file>.crt` and `<file>.key`, for programs that take no kubeconfig.
    pub(crate) fn client_files(&self, file: &str, user: &str, group: &str) -> Result<(), PkiError> {
        let made = self.client(user, Some(group))?;
        self.write(file, &made)
    }

    fn write(&self, file: &str, made: &Credentials) -> Result<(), PkiError> {
        write(&self.folder.join(format!("{file}.crt")), &made.certificate)?;
        write(&self.folder.join(format!("{file}.key")), &made.key)
    }

    fn sign(
        &self,
        user: &str,
        group: Option<&str>,
        names: &[&str],
        usage: ExtendedKeyUsagePurpose,
    ) -> Result<Credentials, PkiError> {
        let issue = |source| PkiError::Issue { subject: user.to_owned(), source };
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).map_err(issue)?;
        params.distinguished_name.push(DnType::CommonName, user);
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().map_err(issue)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(issue)?;
        Ok(Credentials { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

fn write(path: &Path, text: &str) -> Result<(), PkiError> {
    fs::write(path, text).map_err(|source| PkiError::Write { path: path.to_owned(), source })
}
