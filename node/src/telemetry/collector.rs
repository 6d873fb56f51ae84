//! The collector, which may be away: that is told once, and once that it is over.

use std::sync::atomic::{AtomicBool, Ordering};

use opentelemetry_otlp::{ExporterBuildError, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{SpanData, SpanExporter},
};

#[derive(Debug)]
pub(super) struct Collector<E> {
    exporter: E,
    away: AtomicBool,
}

impl Collector<opentelemetry_otlp::SpanExporter> {
    pub(super) fn at(endpoint: &str) -> Result<Self, ExporterBuildError> {
        let exporter = opentelemetry_otlp::SpanExporter::builder().with_tonic().with_endpoint(endpoint).build()?;
        Ok(Self::behind(exporter))
    }
}

impl<E> Collector<E> {
    fn behind(exporter: E) -> Self {
        Self { exporter, away: AtomicBool::new(false) }
    }
}

impl<E: SpanExporter> SpanExporter for Collector<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let outcome = self.exporter.export(batch).await;
        match &outcome {
            Err(error) if !self.away.swap(true, Ordering::Relaxed) => {
                tracing::warn!(%error, "spans can't be exported: they are lost until the collector takes them again");
            }
            Ok(()) if self.away.swap(false, Ordering::Relaxed) => tracing::info!("spans are exported again"),
            _ => {}
        }
        outcome
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use opentelemetry_sdk::error::OTelSdkError;
    use tracing::{Event, Level, Subscriber};
    use tracing_subscriber::{
        Layer, Registry,
        layer::{Context, SubscriberExt},
    };

    use super::*;

    #[derive(Debug, Default)]
    struct Played {
        is_there: AtomicBool,
    }

    impl SpanExporter for Played {
        async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
            let failed = || Err(OTelSdkError::InternalFailure("away".to_owned()));
            if self.is_there.load(Ordering::Relaxed) { Ok(()) } else { failed() }
        }
    }

    #[derive(Debug, Default, Clone)]
    struct Told(Arc<Mutex<Vec<Level>>>);

    impl<S: Subscriber> Layer<S> for Told {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            self.0.lock().unwrap().push(*event.metadata().level());
        }
    }

    #[tokio::test]
    async fn a_collector_that_is_away_is_told_of_once_and_once_when_it_is_back() {
        let told = Told::default();
        let _here = tracing::subscriber::set_default(Registry::default().with(told.clone()));
        let collector = Collector::behind(Played::default());
        for is_there in [false, false, false, true, true, false, true] {
            collector.exporter.is_there.store(is_there, Ordering::Relaxed);
            assert_eq!(collector.export(Vec::new()).await.is_ok(), is_there);
        }
        assert_eq!(*told.0.lock().unwrap(), [Level::WARN, Level::INFO, Level::WARN, Level::INFO]);
    }
}
