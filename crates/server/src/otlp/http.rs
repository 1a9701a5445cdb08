//! OTLP over HTTP: "OTLP/HTTP" of the OpenTelemetry protocol 1.x. Errors are a `google.rpc.Status` in the
//! encoding of the request, as it demands; in JSON with our own shape beside it.

use std::io::Read;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use deeptrace_http::ApiError;
use flate2::read::GzDecoder;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message;
use tonic::Code;

use super::{Otlp, REPORT_MAX, Refused};

pub(super) fn routes(otlp: Otlp) -> Router {
    Router::new()
        .route("/v1/traces", post(traces))
        .layer(DefaultBodyLimit::max(REPORT_MAX))
        .with_state(otlp)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Protobuf,
    Json,
}

impl Encoding {
    const PROTOBUF: &str = "application/x-protobuf";
    const JSON: &str = "application/json";

    fn of(headers: &HeaderMap) -> Option<Self> {
        let kind = headers.get(CONTENT_TYPE)?.to_str().ok()?;
        match kind.split(';').next()?.trim() {
            kind if kind.eq_ignore_ascii_case(Self::PROTOBUF) => Some(Self::Protobuf),
            kind if kind.eq_ignore_ascii_case(Self::JSON) => Some(Self::Json),
            _ => None,
        }
    }

    fn read(self, body: &[u8]) -> Result<ExportTraceServiceRequest, String> {
        match self {
            Self::Protobuf => {
                ExportTraceServiceRequest::decode(body).map_err(|error| error.to_string())
            }
            Self::Json => serde_json::from_slice(body).map_err(|error| error.to_string()),
        }
    }

    fn answer(self, status: StatusCode, body: Vec<u8>) -> Response {
        let kind = match self {
            Self::Protobuf => Self::PROTOBUF,
            Self::Json => Self::JSON,
        };
        (status, [(CONTENT_TYPE, HeaderValue::from_static(kind))], body).into_response()
    }

    fn error(self, code: Code, error: ApiError) -> Response {
        let body = match self {
            Self::Protobuf => {
                let (code, message) = (code as i32, error.message.clone());
                tonic_types::pb::Status { code, message, details: Vec::new() }.encode_to_vec()
            }
            Self::Json => serde_json::to_vec(&serde_json::json!({
                "code": code as i32,
                "message": error.message,
                "error": {"code": error.code, "message": error.message, "details": error.details},
            }))
            .unwrap_or_default(),
        };
        self.answer(error.status, body)
    }
}

async fn traces(State(otlp): State<Otlp>, headers: HeaderMap, body: Bytes) -> Response {
    let Some(encoding) = Encoding::of(&headers) else {
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        let message = "give Content-Type application/x-protobuf or application/json";
        return ApiError::of_status(status, message).into_response();
    };
    let packing = headers.get(CONTENT_ENCODING).map(HeaderValue::as_bytes);
    let is_gzip = match packing {
        None | Some(b"" | b"identity") => false,
        Some(b"gzip") => true,
        Some(_) => {
            otlp.malformed();
            let message = "give Content-Encoding gzip, or none";
            let error = ApiError::of_status(StatusCode::UNSUPPORTED_MEDIA_TYPE, message);
            return encoding.error(Code::InvalidArgument, error);
        }
    };
    // A report of some megabytes takes longer to read than the thread that serves has.
    let taken = tokio::task::spawn_blocking(move || take(&otlp, encoding, is_gzip, &body)).await;
    taken.unwrap_or_else(|error| encoding.error(Code::Internal, ApiError::internal(error)))
}

fn take(otlp: &Otlp, encoding: Encoding, is_gzip: bool, body: &[u8]) -> Response {
    let unpacked = if is_gzip { unpack(body).map(Some) } else { Ok(None) };
    let report = match unpacked {
        Ok(unpacked) => encoding.read(unpacked.as_deref().unwrap_or(body)),
        Err(error) => Err(error),
    };
    let report = match report {
        Ok(report) => report,
        Err(error) => {
            otlp.malformed();
            let error = ApiError::invalid(format!("the report cannot be read: {error}"));
            return encoding.error(Code::InvalidArgument, error);
        }
    };
    match otlp.take(report.resource_spans) {
        Ok(partial) => {
            let answer = partial.answer();
            let body = match encoding {
                Encoding::Protobuf => answer.encode_to_vec(),
                Encoding::Json => json(&answer),
            };
            encoding.answer(StatusCode::OK, body)
        }
        Err(refused) => refuse(encoding, refused),
    }
}

/// A field that is not set is left out, as the JSON mapping of protobuf has it; its number is text.
fn json(answer: &ExportTraceServiceResponse) -> Vec<u8> {
    let shape = match &answer.partial_success {
        None => serde_json::json!({}),
        Some(partial) => serde_json::json!({"partialSuccess": {
            "rejectedSpans": partial.rejected_spans.to_string(),
            "errorMessage": partial.error_message,
        }}),
    };
    shape.to_string().into_bytes()
}

fn refuse(encoding: Encoding, refused: Refused) -> Response {
    let Refused { reason, is_rate, retry_after } = refused;
    let seconds = retry_after.as_secs_f64().ceil() as u64;
    let message = format!("{reason}; try again in {seconds} s");
    let (error, code) = match is_rate {
        true => {
            let status = StatusCode::TOO_MANY_REQUESTS;
            (ApiError::of_status(status, message), Code::ResourceExhausted)
        }
        false => (ApiError::unavailable(message), Code::Unavailable),
    };
    let mut response = encoding.error(code, error);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// A few bytes may be gigabytes when they are unpacked.
fn unpack(body: &[u8]) -> Result<Vec<u8>, String> {
    let mut unpacked = Vec::new();
    let limit = REPORT_MAX as u64;
    let read = GzDecoder::new(body).take(limit + 1).read_to_end(&mut unpacked);
    read.map_err(|error| error.to_string())?;
    if unpacked.len() > REPORT_MAX {
        return Err(format!("it is larger than {REPORT_MAX} bytes when it is unpacked"));
    }
    Ok(unpacked)
}
