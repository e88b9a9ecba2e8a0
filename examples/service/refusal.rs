//! How do errors become answers?
//!
//! Every refusal is an object `{"error": KIND, "message": TEXT}`, with a status that says whose turn it is: 4xx the
//! caller's, 503 nobody's for now, 500 that of whoever runs the service. What the latter needs to know (files, offsets)
//! goes to standard error and not to the caller.

use axum::{
    Json,
    extract::rejection::JsonRejection,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use pulsedb::PulseDBError;
use serde::Serialize;

/// After how many seconds it is worth trying again.
const RETRY_AFTER_SECS: &str = "1";

#[derive(Debug, Serialize)]
pub(crate) struct Refusal {
    #[serde(skip)]
    status: StatusCode,
    error: &'static str,
    message: String,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, error: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            error,
            message: message.into(),
        }
    }

    pub(crate) fn busy(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message)
    }

    pub(crate) fn no_such_collective(name: &str) -> Self {
        let message = format!("there is no collective {name}; recording makes it");
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    pub(crate) fn no_such_route() -> Self {
        let status = StatusCode::NOT_FOUND;
        Self::new(status, "no_such_route", "there is no such path")
    }

    pub(crate) fn no_such_method() -> Self {
        let status = StatusCode::METHOD_NOT_ALLOWED;
        Self::new(status, "no_such_method", "the path knows other methods")
    }
}

impl From<PulseDBError> for Refusal {
    fn from(error: PulseDBError) -> Self {
        let (status, kind) = match &error {
            PulseDBError::Validation { .. } => (StatusCode::BAD_REQUEST, "validation"),
            PulseDBError::NotFound { .. } => (StatusCode::NOT_FOUND, "not_found"),
            PulseDBError::Conflict { .. } => (StatusCode::CONFLICT, "conflict"),
            PulseDBError::Embedding(_) => (StatusCode::UNPROCESSABLE_ENTITY, "embedding"),
            PulseDBError::Gap { .. } => (StatusCode::GONE, "gap"),
            PulseDBError::Backpressure { .. } => return Self::busy(error.to_string()),
            PulseDBError::Closed => return Self::busy("the service is ending"),
            _ => {
                eprintln!("service: {error}");
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                return Self::new(status, "internal", "see the service's standard error");
            }
        };
        Self::new(status, kind, error.to_string())
    }
}

/// Bodies that are too large, no JSON, or not what was asked for.
impl From<JsonRejection> for Refusal {
    fn from(rejection: JsonRejection) -> Self {
        Self::new(rejection.status(), "body", rejection.body_text())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(&self)).into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            let later = header::HeaderValue::from_static(RETRY_AFTER_SECS);
            response.headers_mut().insert(header::RETRY_AFTER, later);
        }
        response
    }
}
