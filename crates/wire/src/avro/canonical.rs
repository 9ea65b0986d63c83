//! The parsing canonical form of an Avro schema and its CRC-64-AVRO fingerprint, as the
//! specification defines them.
//!
//! `apache-avro` has both as well, but keeps `{"type":"long"}` in place of a logical type, so no
//! other implementation knows its fingerprints of such schemas: Java and Python reduce every
//! primitive to its name.

use serde_json::Value as Json;

/// The fingerprint of no bytes, and the polynomial.
const EMPTY: u64 = 0xc15d_213a_a4d7_a795;

/// CRC-64-AVRO of a schema's canonical form, little-endian, as single-object encoding writes it.
pub fn fingerprint(schema: &Json) -> [u8; 8] {
    let mut form = String::new();
    write(schema, None, &mut form);
    crc(form.as_bytes()).to_le_bytes()
}

fn crc(bytes: &[u8]) -> u64 {
    let shift = |crc: u64| (crc >> 1) ^ (EMPTY & 0_u64.wrapping_sub(crc & 1));
    bytes.iter().fold(EMPTY, |crc, byte| (0..8).fold(crc ^ u64::from(*byte), |crc, _| shift(crc)))
}

/// `namespace` is that of the enclosing type.
fn write(schema: &Json, namespace: Option<&str>, out: &mut String) {
    match schema {
        Json::String(name) => quote(&full_name(name, namespace), out),
        Json::Array(branches) => list(branches, out, |branch, out| write(branch, namespace, out)),
        Json::Object(fields) => match (&schema["type"], schema["type"].as_str()) {
            (_, Some("array")) => nested("array", "items", &schema["items"], namespace, out),
            (_, Some("map")) => nested("map", "values", &schema["values"], namespace, out),
            (_, Some(kind @ ("record" | "error" | "enum" | "fixed"))) => {
                let own = fields.get("namespace").and_then(Json::as_str).or(namespace);
                named(schema, kind, &full_name(schema["name"].as_str().unwrap_or_default(), own), out);
            }
            // A primitive with attributes, a reference, or a schema in brackets.
            (inner, _) => write(inner, namespace, out),
        },
        // Not a schema: its reader has already refused it.
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}

fn nested(kind: &str, field: &str, inner: &Json, namespace: Option<&str>, out: &mut String) {
    out.push_str(&format!(r#"{{"type":"{kind}","{field}":"#));
    write(inner, namespace, out);
    out.push('}');
}

fn named(schema: &Json, kind: &str, name: &str, out: &mut String) {
    let inner = name.rsplit_once('.').map(|(namespace, _)| namespace);
    out.push_str(r#"{"name":"#);
    quote(name, out);
    out.push_str(&format!(r#","type":"{kind}""#));
    match kind {
        "enum" => {
            out.push_str(r#","symbols":"#);
            list(items(&schema["symbols"]), out, |symbol, out| quote(symbol.as_str().unwrap_or_default(), out));
        }
        "fixed" => out.push_str(&format!(r#","size":{}"#, schema["size"].as_u64().unwrap_or_default())),
        _ => {
            out.push_str(r#","fields":"#);
            list(items(&schema["fields"]), out, |field, out| {
                out.push_str(r#"{"name":"#);
                quote(field["name"].as_str().unwrap_or_default(), out);
                out.push_str(r#","type":"#);
                write(&field["type"], inner, out);
                out.push('}');
            });
        }
    }
    out.push('}');
}

fn items(list: &Json) -> &[Json] {
    list.as_array().map_or(&[], Vec::as_slice)
}

fn list(items: &[Json], out: &mut String, mut each: impl FnMut(&Json, &mut String)) {
    out.push('[');
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        each(item, out);
    }
    out.push(']');
}

fn full_name(name: &str, namespace: Option<&str>) -> String {
    const PRIMITIVES: [&str; 8] = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"];
    match namespace.filter(|namespace| !namespace.is_empty()) {
        Some(namespace) if !name.contains('.') && !PRIMITIVES.contains(&name) => format!("{namespace}.{name}"),
        _ => name.to_owned(),
    }
}

fn quote(text: &str, out: &mut String) {
    out.push_str(&Json::from(text).to_string());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(text: &str) -> String {
        let mut form = String::new();
        write(&serde_json::from_str(text).unwrap(), None, &mut form);
        form
    }

    #[test]
    fn forms() {
        let table = [
            (r#""int""#, r#""int""#),
            (r#"{"type":"int"}"#, r#""int""#),
            (r#"{"type":"long","logicalType":"timestamp-millis"}"#, r#""long""#),
            (r#"{"type":{"type":"string","avro.java.string":"String"}}"#, r#""string""#),
            (
                r#"["null",{"type":"map","values":{"type":"int","logicalType":"date"},"x":1}]"#,
                r#"["null",{"type":"map","values":"int"}]"#,
            ),
            (
                r#"{"type":"enum","symbols":["B","A"],"name":"E","namespace":"n.m","default":"A"}"#,
                r#"{"name":"n.m.E","type":"enum","symbols":["B","A"]}"#,
            ),
            (
                r#"{"fields":[{"type":["null",{"name":"F","type":"fixed","size":4}],"name":"f","default":null},{"name":"g","type":"F"},
                    {"name":"h","type":{"type":"record","namespace":"o","name":"R","fields":[{"name":"i","type":"x.S"}]}}],
                    "name":"x.S","type":"record","doc":"d","aliases":["T"]}"#,
                concat!(
                    r#"{"name":"x.S","type":"record","fields":[{"name":"f","type":["null",{"name":"x.F","type":"fixed","size":4}]},"#,
                    r#"{"name":"g","type":"x.F"},{"name":"h","type":{"name":"o.R","type":"record","fields":[{"name":"i","type":"x.S"}]}}]}"#
                ),
            ),
        ];
        for (text, expected) in table {
            assert_eq!(form(text), expected, "{text}");
        }
    }

    /// Values of other implementations for the same texts: the first three are in Avro's own tests.
    #[test]
    fn fingerprints() {
        let membership = include_str!("../../../../schemas/output/audience-membership.avsc");
        let table = [
            (r#""null""#, 0x63dd_24e7_cc25_8f8a_u64),
            (r#""int""#, 0x7275_d51a_3f39_5c8f),
            (r#""string""#, 0x8f01_4872_6345_03c7),
            (membership, u64::from_le_bytes([0x84, 0xab, 0xa7, 0xe2, 0xe9, 0x23, 0x03, 0x4f])),
        ];
        for (text, expected) in table {
            assert_eq!(fingerprint(&serde_json::from_str(text).unwrap()), expected.to_le_bytes(), "{text}");
        }
    }
}
