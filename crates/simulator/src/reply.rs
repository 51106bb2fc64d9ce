//! The HTTP form of an answer.

use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, Response, StatusCode, header},
};
use futures::{StreamExt, stream};
use serde_json::{Map, Value, json};

use crate::calls::{CallAnswer, wrapped};
use crate::iam::nested_error;
use crate::refusal::{ApiRefusal, Speaker};
use crate::switches::{ErrorShape, GatewayPrefix, IamErrorShape, RetryAfter, Switches};

const JSON: &str = "application/json";

const HTML: &str = "text/html; charset=utf-8";

const CHUNK: usize = 64 * 1024;

/// An answer before it is sent.
#[derive(Clone, Debug)]
pub(crate) struct HttpReply {
    pub status: StatusCode,
    pub error_code: Option<String>,
    body: Vec<u8>,
    content_type: Option<&'static str>,
    retry_after: Option<String>,
    subject_token: Option<String>,
    fate: Fate,
}

/// What happens to the body in transit.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Whole,
    Truncated,
    /// This many bytes replace it.
    Huge(u64),
}

impl HttpReply {
    fn new(status: StatusCode, body: Vec<u8>, content_type: Option<&'static str>) -> Self {
        Self {
            status,
            error_code: None,
            body,
            content_type,
            retry_after: None,
            subject_token: None,
            fate: Fate::Whole,
        }
    }

    /// A success.
    pub(crate) fn answer(answer: CallAnswer, request_id: &str) -> Self {
        let CallAnswer {
            status,
            body,
            with_request_id,
            committed: _,
            created: _,
            subject_token,
        } = answer;
        let Some(mut body) = body else {
            return Self::new(status, Vec::new(), None);
        };
        if with_request_id {
            body.insert("request_id".to_owned(), request_id.into());
        }
        Self {
            subject_token,
            ..Self::new(status, bytes(body), Some(JSON))
        }
    }

    /// A refusal, in the format of the component that refuses.
    pub(crate) fn refusal(refusal: ApiRefusal, request_id: &str, switches: &Switches) -> Self {
        let ApiRefusal {
            speaker,
            status,
            code,
            message,
            retry_after,
        } = refusal;
        let code = match (speaker, switches.gateway_prefix) {
            (Speaker::Gateway, GatewayPrefix::Apigw) => format!("APIGW.{code}"),
            (Speaker::Gateway, GatewayPrefix::Apig) => format!("APIG.{code}"),
            _ => code,
        };
        let body = match speaker {
            Speaker::Gateway => error_body(&code, &message, request_id, ErrorShape::ErrorCode),
            Speaker::Service => error_body(&code, &message, request_id, switches.error_shape),
            Speaker::Iam => match switches.iam_error_shape {
                IamErrorShape::Nested => nested_error(status, &message),
                IamErrorShape::ErrorCode => Map::from_iter([
                    ("error_msg".to_owned(), json!(message)),
                    ("error_code".to_owned(), json!(code)),
                ]),
            },
        };
        let usual =
            || (status == StatusCode::TOO_MANY_REQUESTS && switches.retry_after == RetryAfter::Present).then(one);
        Self {
            error_code: Some(code),
            retry_after: retry_after.or_else(usual),
            ..Self::new(status, bytes(body), Some(JSON))
        }
    }

    /// An answer that a fault specifies; without a code, its message is its body.
    pub(crate) fn made_up(
        status: StatusCode,
        code: Option<String>,
        message: &str,
        retry_after: Option<String>,
        request_id: &str,
        switches: &Switches,
    ) -> Self {
        let shape = match &code {
            Some(code) if code.starts_with("VPN.") => switches.error_shape,
            _ => ErrorShape::ErrorCode,
        };
        let mut reply = match &code {
            Some(code) => Self::new(status, bytes(error_body(code, message, request_id, shape)), Some(JSON)),
            None if message.is_empty() => Self::new(status, Vec::new(), None),
            None => Self::new(status, message.as_bytes().to_vec(), Some("text/plain; charset=utf-8")),
        };
        reply.error_code = code;
        reply.retry_after = retry_after;
        reply
    }

    /// A page that a proxy sends instead of an answer.
    pub(crate) fn html(status: StatusCode) -> Self {
        let reason = status.canonical_reason().unwrap_or_default();
        let page = format!(
            "<html>\r\n<head><title>{0} {reason}</title></head>\r\n<body>\r\n<center><h1>{0} {reason}</h1></center>\r\n\
             <hr><center>nginx</center>\r\n</body>\r\n</html>\r\n",
            status.as_u16()
        );
        Self::new(status, page.into_bytes(), Some(HTML))
    }

    /// Cuts off the second half of the body.
    pub(crate) fn truncated(mut self) -> Self {
        self.fate = Fate::Truncated;
        self
    }

    /// 200 with a body of `length` bytes.
    pub(crate) fn huge(length: u64) -> Self {
        Self {
            fate: Fate::Huge(length),
            ..Self::new(StatusCode::OK, Vec::new(), Some(JSON))
        }
    }

    /// Builds the HTTP response.
    pub(crate) fn into_response(self, request_id: &str, date: &str, is_iam: bool) -> Response<Body> {
        let Self {
            status,
            error_code: _,
            body,
            content_type,
            retry_after,
            subject_token,
            fate,
        } = self;
        let length = body.len();
        let mut declared = None;
        let body = match fate {
            Fate::Whole => Body::from(body),
            Fate::Truncated => {
                // An answer without a body declares two bytes, so that it breaks off as well.
                declared = Some(length.max(2));
                let half = Bytes::from(body).slice(..length / 2);
                // The yield lets the half be sent first; an immediate error would discard it.
                let cut = stream::once(async {
                    tokio::task::yield_now().await;
                    Err(std::io::Error::other("the body breaks off"))
                });
                Body::from_stream(stream::iter([Ok(half)]).chain(cut))
            }
            Fate::Huge(length) => Body::from_stream(stream::unfold(length, |left| async move {
                let size = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
                let chunk = Bytes::from(vec![b' '; size]);
                (size > 0).then(|| (Ok::<_, std::convert::Infallible>(chunk), left - size as u64))
            })),
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        let mut set = |name: &'static str, value: &str| {
            // Every value is ASCII: ids, dates, numbers and what the admin API has checked.
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        };
        set(header::DATE.as_str(), date);
        set("x-request-id", request_id);
        if is_iam {
            set("x-iam-trace-id", request_id);
        }
        if let Some(content_type) = content_type {
            set(header::CONTENT_TYPE.as_str(), content_type);
        }
        if let Some(after) = retry_after {
            set(header::RETRY_AFTER.as_str(), &after);
        }
        if let Some(token) = subject_token {
            set("x-subject-token", &token);
        }
        if let Some(length) = declared {
            set(header::CONTENT_LENGTH.as_str(), &length.to_string());
        }
        response
    }
}

fn error_body(code: &str, message: &str, request_id: &str, shape: ErrorShape) -> Map<String, Value> {
    let (code_name, message_name) = match shape {
        ErrorShape::ErrorCode => ("error_code", "error_msg"),
        // The documentation of this shape shows no request id in it.
        ErrorShape::Code => {
            let mut body = wrapped("code", code.into());
            body.insert("message".to_owned(), message.into());
            return body;
        }
        ErrorShape::CamelCase => ("errorCode", "errorMsg"),
    };
    let mut body = wrapped(code_name, code.into());
    body.insert(message_name.to_owned(), message.into());
    body.insert("request_id".to_owned(), request_id.into());
    body
}

fn bytes(body: Map<String, Value>) -> Vec<u8> {
    Value::Object(body).to_string().into_bytes()
}

fn one() -> String {
    "1".to_owned()
}
