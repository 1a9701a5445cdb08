//! OTLP over gRPC: `opentelemetry.proto.collector.trace.v1.TraceService/Export` ("OTLP/gRPC" of the
//! OpenTelemetry protocol 1.x).

use axum::Router;
use axum::routing::post_service;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
    trace_service_server::{TraceService, TraceServiceServer},
};
use tonic::codec::CompressionEncoding;
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::{Otlp, REPORT_MAX};

/// Its path.
const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

pub(super) fn routes(otlp: Otlp) -> Router {
    let service = TraceServiceServer::new(otlp)
        .accept_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(REPORT_MAX);
    Router::new().route(EXPORT, post_service(service))
}

#[tonic::async_trait]
impl TraceService for Otlp {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let (otlp, report) = (self.clone(), request.into_inner());
        let taken = tokio::task::spawn_blocking(move || otlp.take(report.resource_spans)).await;
        let taken = taken.map_err(|error| Status::internal(error.to_string()))?;
        let partial = taken.map_err(|refused| {
            let code = if refused.is_rate { Code::ResourceExhausted } else { Code::Unavailable };
            // Only with this may a caller try again after RESOURCE_EXHAUSTED.
            let details = ErrorDetails::with_retry_info(Some(refused.retry_after));
            Status::with_error_details(code, refused.reason, details)
        })?;
        Ok(Response::new(partial.answer()))
    }
}
