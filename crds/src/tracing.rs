//! Where a committee's pods tell which requests they have answered, and how.

use std::net::IpAddr;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Which requests are followed through gateways and members, and who is told (OpenTelemetry spans). The fields are those of
/// Kubernetes' own `TracingConfiguration` (KEP-2831).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tracing {
    /// The collector, `http://host:port`: it takes OTLP over gRPC, without TLS. Where network policies are made, the
    /// committee's pods may connect to its port wherever it is, and members ask DNS if the host is a name.
    #[x_kube(validation = Rule::new("self.matches('^http://[^/?#@ ]+:[1-9][0-9]{0,4}$') && int(self.split(':')[self.split(':').size() - 1]) < 65536")
        .message("tracing.endpoint must be http://host:port, of a collector that takes OTLP over gRPC"))]
    #[schemars(length(max = 512), regex(pattern = r"^http://"))]
    pub endpoint: String,
    /// Of a million requests whose callers don't say whether they are to be followed, so many are. Silent: all.
    #[schemars(range(min = 0, max = 1_000_000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampling_rate_per_million: Option<u32>,
}

impl Tracing {
    /// The collector's port; `None` where the endpoint names none.
    pub fn port(&self) -> Option<u16> {
        self.address()?.1.parse().ok().filter(|port| *port != 0)
    }

    /// Whether DNS has to be asked for the collector.
    pub fn is_named(&self) -> bool {
        let host = self.address().map(|(host, _)| host.trim_start_matches('[').trim_end_matches(']'));
        host.is_some_and(|host| host.parse::<IpAddr>().is_err())
    }

    fn address(&self) -> Option<(&str, &str)> {
        self.endpoint.strip_prefix("http://")?.rsplit_once(':')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_is_a_name_or_an_address_and_a_port() {
        let of = |endpoint: &str| {
            let tracing = Tracing { endpoint: endpoint.to_owned(), sampling_rate_per_million: None };
            (tracing.port(), tracing.is_named())
        };
        assert_eq!(of("http://collector.observability:4317"), (Some(4317), true));
        assert_eq!(of("http://192.0.2.1:55680"), (Some(55680), false));
        assert_eq!(of("http://[2001:db8::1]:4317"), (Some(4317), false));
        for odd in [
            "https://collector:4317",
            "http://collector",
            "collector:4317",
            "http://collector:0",
            "http://collector:65536",
        ] {
            assert_eq!(of(odd).0, None, "{odd}");
        }
    }
}
