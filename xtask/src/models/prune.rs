//! A service model without what is not served, and how it is written down.
//!
//! What stays is what decides bytes on the wire: names, types, limits, wrappers, error codes. What
//! goes is prose (most of the file), endpoint rules and every shape that no served operation reaches.
//!
//! Invariant: keys are sorted and a shape or operation has one line, except that members keep the
//! model's order; a kind of shape that `tanist-aws` does not know is an error and not a gap.
//! Not here: where the model comes from (`models`).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::served::Service;

/// Of the service.
const METADATA: [&str; 8] = [
    "apiVersion",
    "endpointPrefix",
    "jsonVersion",
    "protocols",
    "serviceId",
    "signingName",
    "targetPrefix",
    "xmlNamespace",
];

/// Of a shape. Its members, list member, key and value are kept as references.
const SHAPE: [&str; 9] = [
    "enum",
    "flattened",
    "locationName",
    "max",
    "min",
    "pattern",
    "required",
    "timestampFormat",
    "type",
];

/// Of a reference to a shape.
const REFERENCE: [&str; 6] =
    ["flattened", "locationName", "name", "queryName", "shape", "timestampFormat"];

/// The types that the wire protocols of `tanist-aws` know.
const TYPES: [&str; 11] = [
    "blob",
    "boolean",
    "double",
    "float",
    "integer",
    "list",
    "long",
    "map",
    "string",
    "structure",
    "timestamp",
];

/// The pruned model as text.
pub(crate) fn prune(service: &Service, version: &str, model: &Value) -> Result<String, String> {
    let mut operations = BTreeMap::new();
    let mut wanted: Vec<String> = Vec::new();
    let mut failures: BTreeSet<String> = BTreeSet::new();
    for name in service.operations {
        let operation = &model["operations"][name];
        if operation.is_null() {
            return Err(format!("botocore has no operation {name}"));
        }
        let errors = names(&operation["errors"]);
        failures.extend(errors.iter().cloned());
        let mut kept = Map::new();
        for side in ["input", "output"] {
            if let Some(shape) = operation[side]["shape"].as_str() {
                wanted.push(shape.to_owned());
                kept.insert(side.into(), shape.into());
            }
        }
        if let Some(wrapper) = operation["output"].get("resultWrapper") {
            kept.insert("resultWrapper".into(), wrapper.clone());
        }
        if !errors.is_empty() {
            kept.insert("errors".into(), errors.into());
        }
        operations.insert((*name).to_owned(), Value::Object(kept));
    }
    let shapes = reachable(model, wanted)?;
    let errors = failures
        .into_iter()
        .map(|name| Ok((name.clone(), failure(&name, &model["shapes"][&name])?)))
        .collect::<Result<BTreeMap<_, _>, String>>()?;
    let metadata = picked(&model["metadata"], &METADATA);
    Ok(written(
        version,
        &metadata,
        &[("errors", &errors), ("operations", &operations), ("shapes", &shapes)],
    ))
}

fn names(errors: &Value) -> Vec<String> {
    let errors = errors.as_array().into_iter().flatten();
    let mut names: Vec<String> =
        errors.filter_map(|error| error["shape"].as_str()).map(str::to_owned).collect();
    names.sort();
    names
}

fn picked(from: &Value, keys: &[&str]) -> Value {
    let pairs = keys.iter().filter_map(|key| Some(((*key).to_owned(), from.get(*key)?.clone())));
    Value::Object(pairs.collect())
}

/// The shapes that the wanted ones lead to, themselves included.
fn reachable(model: &Value, mut wanted: Vec<String>) -> Result<BTreeMap<String, Value>, String> {
    let mut found = BTreeMap::new();
    while let Some(name) = wanted.pop() {
        if found.contains_key(&name) {
            continue;
        }
        let shape = &model["shapes"][&name];
        let kind = shape["type"].as_str().unwrap_or("nothing");
        if !TYPES.contains(&kind) {
            return Err(format!("the shape {name} is a {kind}, which tanist-aws does not know"));
        }
        let mut kept = picked(shape, &SHAPE);
        let mut follow = |reference: &Value| {
            wanted.extend(reference["shape"].as_str().map(str::to_owned));
            picked(reference, &REFERENCE)
        };
        if let Some(members) = shape["members"].as_array() {
            kept["members"] = members.iter().map(&mut follow).collect();
        }
        for part in ["member", "key", "value"] {
            if let Some(reference) = shape.get(part) {
                kept[part] = follow(reference);
            }
        }
        found.insert(name, kept);
    }
    Ok(found)
}

/// What clients see of an error: its code on the Query wire, its status, and whose fault it is.
fn failure(name: &str, shape: &Value) -> Result<Value, String> {
    let status = shape["error"]["httpStatusCode"]
        .as_u64()
        .ok_or_else(|| format!("the error {name} has no HTTP status"))?;
    let code = shape["error"]["code"].as_str().unwrap_or(name);
    Ok(json!({ "code": code, "status": status }))
}

fn written(
    version: &str,
    metadata: &Value,
    sections: &[(&str, &BTreeMap<String, Value>)],
) -> String {
    let mut text = format!("{{\n\"botocore\":{},\n\"metadata\":{metadata}", json!(version));
    for (name, entries) in sections {
        text += &format!(",\n{}:{{\n", json!(name));
        let lines: Vec<String> =
            entries.iter().map(|(key, value)| format!("{}:{value}", json!(key))).collect();
        text += &lines.join(",\n");
        text += "\n}";
    }
    text + "\n}\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVED: Service = Service { name: "zoo", operations: &["Feed"] };

    fn zoo() -> Value {
        json!({
            "metadata": {"apiVersion": "1", "endpointPrefix": "zoo", "uid": "dropped"},
            "operations": {
                "Feed": {
                    "input": {"shape": "FeedMessage"},
                    "output": {"shape": "Animal", "resultWrapper": "FeedResult"},
                    "errors": [{"shape": "NotHungryFault"}],
                    "documentation": "prose"
                },
                "Sell": {"input": {"shape": "SellMessage"}}
            },
            "shapes": {
                "FeedMessage": {"type": "structure", "members": [
                    {"name": "Zebra", "shape": "Animal", "documentation": "prose"},
                    {"name": "Ant", "shape": "AnimalList", "locationName": "ants"}
                ]},
                "Animal": {"type": "structure", "members": []},
                "AnimalList": {"type": "list", "member": {"shape": "Animal"}},
                "NotHungryFault": {"type": "structure", "error": {"code": "NotHungry",
                    "httpStatusCode": 400}},
                "SellMessage": {"type": "blob"}
            }
        })
    }

    #[test]
    fn only_what_is_served_stays_and_members_keep_their_order() {
        let text = prune(&SERVED, "1.0", &zoo()).unwrap();
        let expected = r#"{
"botocore":"1.0",
"metadata":{"apiVersion":"1","endpointPrefix":"zoo"},
"errors":{
"NotHungryFault":{"code":"NotHungry","status":400}
},
"operations":{
"Feed":{"errors":["NotHungryFault"],"input":"FeedMessage","output":"Animal","resultWrapper":"FeedResult"}
},
"shapes":{
"Animal":{"members":[],"type":"structure"},
"AnimalList":{"member":{"shape":"Animal"},"type":"list"},
"FeedMessage":{"members":[{"name":"Zebra","shape":"Animal"},{"locationName":"ants","name":"Ant","shape":"AnimalList"}],"type":"structure"}
}
}
"#;
        assert_eq!(text, expected);
    }

    #[test]
    fn a_model_that_would_leave_a_gap_is_an_error() {
        let mut unknown = zoo();
        unknown["shapes"]["Animal"]["type"] = "document".into();
        let error = prune(&SERVED, "1.0", &unknown).unwrap_err();
        assert_eq!(error, "the shape Animal is a document, which tanist-aws does not know");
        let mut gone = zoo();
        gone["operations"]["Feed"] = Value::Null;
        assert_eq!(prune(&SERVED, "1.0", &gone).unwrap_err(), "botocore has no operation Feed");
        let mut silent = zoo();
        silent["shapes"]["NotHungryFault"]["error"] = Value::Null;
        let error = prune(&SERVED, "1.0", &silent).unwrap_err();
        assert_eq!(error, "the error NotHungryFault has no HTTP status");
    }
}
