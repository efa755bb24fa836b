//! Pieces of schema that several resources share.

use schemars::{Schema, SchemaGenerator, json_schema};

/// Conditions as Kubernetes keeps them: a map list by type, bounded.
pub fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "description": "What is known of this object; `kubectl wait --for=condition=…` follows them.",
        "type": "array",
        "maxItems": 16,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["type", "status", "reason", "message", "lastTransitionTime"],
            "properties": {
                "type": {"type": "string", "maxLength": 64, "description": "Name of the condition."},
                "status": {"type": "string", "enum": ["True", "False", "Unknown"], "description": "Whether it holds."},
                "reason": {"type": "string", "maxLength": 64, "description": "Why, in one word for programs."},
                "message": {"type": "string", "maxLength": 1024, "description": "Why, in a sentence for people."},
                "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0,
                    "description": "Generation of the spec that this is about."},
                "lastTransitionTime": {"type": "string", "format": "date-time", "description": "When the status last changed."}
            }
        }
    })
}

/// Free-form JSON object, at most 64 keys; no CEL can look inside it.
pub fn settings(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "description": "Free-form settings, handed to the runtime as they are: at most 64 keys and 64 KiB.",
        "type": "object",
        "maxProperties": 64,
        "x-kubernetes-preserve-unknown-fields": true
    })
}
