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

/// Texts by language tag.
pub fn texts(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "description": "Texts for people by language tag, for example ar and en.",
        "type": "object",
        "maxProperties": 32,
        "additionalProperties": {"type": "string", "maxLength": 256, "description": "The text."}
    })
}

/// Content by language tag; no CEL can look inside it.
pub fn inline_content(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "description": "The content itself: an object by language tag, 128 KiB in all.",
        "type": "object",
        "maxProperties": 32,
        "additionalProperties": {
            "type": "object",
            "description": "The content in this language.",
            "maxProperties": 256,
            "x-kubernetes-preserve-unknown-fields": true
        }
    })
}

/// A label selector, bounded.
pub fn selector(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "description": "Nodes by their labels, as everywhere in Kubernetes.",
        "type": "object",
        "properties": {
            "matchLabels": {
                "description": "Labels with these values.",
                "type": "object",
                "maxProperties": 16,
                "additionalProperties": {"type": "string", "maxLength": 63}
            },
            "matchExpressions": {
                "description": "Labels that meet these conditions, all of them.",
                "type": "array",
                "maxItems": 16,
                "x-kubernetes-list-type": "atomic",
                "items": {
                    "type": "object",
                    "required": ["key", "operator"],
                    "properties": {
                        "key": {"type": "string", "maxLength": 317, "description": "Name of the label."},
                        "operator": {"type": "string", "enum": ["In", "NotIn", "Exists", "DoesNotExist"],
                            "description": "What its value must be."},
                        "values": {"type": "array", "maxItems": 64, "x-kubernetes-list-type": "atomic",
                            "description": "Values for In and NotIn.", "items": {"type": "string", "maxLength": 63}}
                    }
                }
            }
        }
    })
}

/// A number or a percentage.
pub fn amount(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "description": "A number, or a percentage such as 25%.",
        "x-kubernetes-int-or-string": true,
        "maxLength": 8
    })
}
