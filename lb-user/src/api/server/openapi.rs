//! The description of the API, made of the code that serves it: OpenAPI 3.1.

use axum::{
    body::Bytes,
    http::header,
    response::{IntoResponse as _, Response},
};
use utoipa::openapi::{ComponentsBuilder, Info, OpenApi, OpenApiBuilder};

use crate::api::{
    VERSION,
    types::{Place, Problem},
};

/// What stands before the routes.
pub(super) fn head() -> OpenApi {
    let mut info = Info::new("lbd", VERSION);
    info.description = Some(
        "The control socket of lbd. Errors are problem documents (RFC 9457). Who may ask for what, `[access]` \
         in the configuration says; every change is noted in the log with who made it. The Content-Type of what is \
         sent is not looked at: a body is JSON. A path that does not take a method answers 405."
            .to_owned(),
    );
    // Those of the routes are found by themselves, but for what all of them may answer.
    let components =
        ComponentsBuilder::new().schema_from::<Problem>().schema_from::<Place>().build();
    OpenApiBuilder::new().info(info).components(Some(components)).build()
}

/// As it is served, and as it stands in docs/openapi.json.
pub(super) fn text(document: &OpenApi) -> String {
    document.to_pretty_json().map(|text| text + "\n").unwrap_or_default()
}

pub(super) fn answer(document: Bytes) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], document).into_response()
}
