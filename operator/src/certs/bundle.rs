//! Authorities that are trusted together: one PEM file with the certificates of all.

use base64::{Engine, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use rustls::{RootCertStore, pki_types::CertificateDer};
use x509_parser::pem::Pem;

/// More would be an issuer's whim, and a file that grows without end.
const MOST: usize = 32;

/// Certificates of authorities, each once, in the order in which they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bundle(Vec<String>);

impl Bundle {
    /// Adds the certificates of a PEM text that aren't in it. What those who read the file couldn't take is left out: one bad
    /// certificate would spoil it whole.
    pub fn add(&mut self, text: &str) {
        for pem in Pem::iter_from_buffer(text.as_bytes()).filter_map(Result::ok) {
            let is_good = RootCertStore::empty().add(CertificateDer::from(pem.contents.clone())).is_ok();
            let block = block(&pem.contents);
            if is_good && self.0.len() < MOST && !self.0.contains(&block) {
                self.0.push(block);
            }
        }
    }

    /// Without those that have expired and have signed none of these leaves.
    #[must_use]
    pub fn without_expired(self, leaves: &[String], now: Timestamp) -> Self {
        let is_wanted = |block: &String| {
            super::lifetime(block).is_some_and(|(_, to)| to > now)
                || leaves.iter().any(|leaf| super::has_signed(block, leaf))
        };
        Self(self.0.into_iter().filter(is_wanted).collect())
    }

    /// Whether there is but one.
    pub fn is_single(&self) -> bool {
        self.0.len() == 1
    }

    /// As PEM.
    pub fn text(&self) -> String {
        self.0.concat()
    }
}

/// The certificate as everybody writes it: what came may have had other line ends, or words around it.
fn block(der: &[u8]) -> String {
    let encoded = BASE64_STANDARD.encode(der);
    let lines: Vec<&str> =
        encoded.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap_or_default()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use weft_protocol::FleetId;

    use super::*;
    use crate::certs::{Authority, Role};

    #[test]
    fn each_authority_is_in_it_once_for_as_long_as_it_is_valid_or_has_leaves() {
        let now = Timestamp::from_second(1_800_000_000).expect("in range");
        let made = [1, 2].map(|id| Authority::create(FleetId([id; 16]), now).expect("an authority"));
        let [one, two] = made.each_ref().map(|made| made.certificate.clone());
        let mut bundle = Bundle::default();
        bundle.add(&one);
        assert!(bundle.is_single());
        let odd = format!("# a remark\r\n{}\r\nand more", two.replace('\n', "\r\n"));
        bundle.add(&format!("{one}{odd}"));
        assert!(!bundle.is_single() && bundle.text().ends_with(&two), "as it was written first");
        let before = bundle.clone();
        bundle.add(&format!("{two}{one}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"));
        assert_eq!(bundle, before, "they are in it, and what is none isn't");

        let [_, second] = made;
        let authority = Authority::load(second.certificate, &second.key).expect("the same authority");
        let leaf = authority.issue(FleetId([2; 16]), Role::Gateway, &[], now).expect("a leaf").certificate;
        let century = now + SignedDuration::from_hours(100 * 365 * 24);
        assert_eq!(bundle.clone().without_expired(&[], now), bundle);
        assert_eq!(bundle.without_expired(&[leaf], century).text(), two);
    }
}
