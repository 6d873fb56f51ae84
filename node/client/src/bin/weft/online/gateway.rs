//! Finding gateways: told, or through the kubeconfig.

use std::{fs, path::PathBuf};

use clap::Args;
use weft_client::http::{Gateways, GatewaysConfig, server_name};

use super::kubeconfig::{self, Forward};
use crate::{failure::BoxError as Error, kubernetes::KubeOptions};

/// Where the fleet's gateways are; without a URL, they are found through the kubeconfig.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Fleet")]
pub(crate) struct GatewayOptions {
    /// URL of a gateway; repeat it for several
    #[arg(long, value_name = "URL", env = "WEFT_GATEWAY", value_delimiter = ',')]
    gateway: Vec<String>,
    /// The token to show
    #[arg(long, env = "WEFT_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// A file with the token
    #[arg(long, value_name = "FILE", env = "WEFT_TOKEN_FILE", conflicts_with = "token")]
    token_file: Option<PathBuf>,
    /// A file with the certificate authority of the gateways' certificates, PEM [default: those that this machine trusts]
    #[arg(long, value_name = "FILE", env = "WEFT_CA_FILE")]
    ca_file: Option<PathBuf>,
    /// The name in the gateways' certificates [default: the URL's host, gateway.weft behind a bare address]
    #[arg(long, value_name = "NAME", env = "WEFT_SERVER_NAME")]
    server_name: Option<String>,
    /// The committee's name [default: the only one in the namespace]
    #[arg(long, env = "WEFT_COMMITTEE")]
    committee: Option<String>,
    #[command(flatten)]
    kube: KubeOptions,
}

impl GatewayOptions {
    /// Of a fleet that is named in one word: a URL, a committee, or a namespace and a committee.
    pub(super) fn of(
        fleet: &str,
        context: Option<String>,
        token_file: Option<PathBuf>,
        ca_file: Option<PathBuf>,
    ) -> Self {
        let mut options = Self { token_file, ca_file, ..Self::default() };
        if fleet.contains("://") {
            options.gateway = vec![fleet.to_owned()];
            return options;
        }
        let (namespace, committee) = match fleet.split_once('/') {
            Some((namespace, committee)) => (Some(namespace.to_owned()), committee),
            None => (None, fleet),
        };
        options.committee = Some(committee.to_owned());
        options.kube = KubeOptions::of(context, namespace);
        options
    }

    /// Gateways, and what forwards to them, if something must.
    pub(super) async fn connect(&self) -> Result<(Gateways, Option<Forward>), Error> {
        let read = |path: &PathBuf| fs::read(path).map_err(|error| format!("can't read {}: {error}", path.display()));
        let token_file = self.token_file.as_ref().map(read).transpose()?;
        let told = token_file.map(String::from_utf8).transpose()?.or_else(|| self.token.clone());
        let ca = self.ca_file.as_ref().map(read).transpose()?;
        if let Some(first) = self.gateway.first() {
            let server_name = self.server_name.clone().or_else(|| server_name(first));
            let urls = self.gateway.clone();
            let public = ca.is_none();
            let config = GatewaysConfig { urls, token: told, ca, public, server_name, ..GatewaysConfig::default() };
            return Ok((Gateways::new(config)?, None));
        }
        let found = kubeconfig::find(&self.kube, self.committee.as_deref()).await?;
        let own = || weft_client::http::GATEWAY_NAME.to_owned();
        if found.user_given && self.server_name.is_none() {
            return Err("the gateways show a certificate of their own: say its name with --server-name".into());
        }
        let config = GatewaysConfig {
            urls: found.forward.urls(),
            token: told.or(found.token),
            // An authority that is told is the only one.
            public: ca.is_none() && found.user_given,
            ca: ca.or(found.ca),
            server_name: Some(self.server_name.clone().unwrap_or_else(own)),
            ..GatewaysConfig::default()
        };
        Ok((Gateways::new(config)?, Some(found.forward)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fleet_is_a_url_or_a_committee() {
        let url = GatewayOptions::of("https://gateway.example:8443", None, None, None);
        assert_eq!((url.gateway.len(), url.committee), (1, None));
        let committee = GatewayOptions::of("team-a/media", Some("west".to_owned()), None, None);
        assert_eq!(committee.committee.as_deref(), Some("media"));
        let kube = format!("{:?}", committee.kube);
        assert!(kube.contains("west") && kube.contains("team-a"), "{kube}");
    }
}
