//! What every operation's description has in common: the refusals that any request may meet.

use utoipa::openapi::{
    Content, OpenApi, Ref, RefOr, ResponseBuilder,
    path::Operation,
    schema::ComponentsBuilder,
    security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};
use utoipa::{PartialSchema, ToSchema};

use crate::envelope::Envelope;

/// No data: null.
#[derive(ToSchema)]
pub struct Nothing;

const FAILURE: &str = "Failure";

/// Describes the refusals, and how a request is signed in.
pub fn complete(description: &mut OpenApi) {
    let components = description.components.take().unwrap_or_default();
    let mut schemas = Vec::new();
    Envelope::<Nothing>::schemas(&mut schemas);
    let token = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
    description.components = Some(
        ComponentsBuilder::from(components)
            .schemas_from_iter(schemas)
            .schema(FAILURE, Envelope::<Nothing>::schema())
            .security_scheme("token", SecurityScheme::Http(token))
            .build(),
    );
    for item in description.paths.paths.values_mut() {
        let operations =
            [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete, &mut item.head];
        operations.into_iter().flatten().for_each(refusals);
    }
}

fn refusals(operation: &mut Operation) {
    // Any request may come at a bad moment.
    let mut codes = vec![503, 504];
    if operation.request_body.is_some() {
        codes.extend([400, 413, 422]);
    }
    if operation.parameters.is_some() {
        codes.push(422);
    }
    if operation.security.is_some() {
        codes.extend([401, 403]);
    }
    let declared: Vec<_> = operation.responses.responses.keys().filter_map(|code| code.parse::<u16>().ok()).collect();
    codes.extend(declared.into_iter().filter(|code| *code >= 400));
    for code in codes {
        let failure = Content::builder().schema(Some(Ref::from_schema_name(FAILURE))).build();
        let response = ResponseBuilder::new().description(meaning(code)).content("application/json", failure).build();
        operation.responses.responses.insert(code.to_string(), RefOr::T(response));
    }
}

const fn meaning(code: u16) -> &'static str {
    match code {
        400 => "The body is not the JSON that is described",
        401 => "Nobody is signed in, or no longer",
        403 => "The one who asks may not do this",
        404 => "There is nothing of that name",
        409 => "It stands against what is there",
        412 => "It was changed by another meanwhile",
        413 => "The body is larger than is accepted",
        422 => "Fields are not as they should be; each is named",
        428 => "The version that is to be changed must be named",
        429 => "Too many attempts; Retry-After says when to try again",
        503 => "Not now; Retry-After says when to try again",
        504 => "It took too long",
        _ => "Refused",
    }
}
