//! Reading Avro: every type, evolved writers, hostile bytes; `apache-avro` writes the input.

use apache_avro::types::Value as Avro;
use apache_avro::writer::datum::GenericDatumWriter;
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::*;

fn read(schema: &str, datum: &[u8]) -> Result<Json, String> {
    let schema = AvroSchema::parse(schema, &[]).unwrap();
    let mut input = Input::new(datum);
    let json = Json::deserialize(schema.datum(&mut input)).map_err(|error| error.to_string())?;
    assert_eq!(input.left(), 0, "{json}");
    Ok(json)
}

fn write(schema: &str, value: Avro) -> Vec<u8> {
    let schema = apache_avro::Schema::parse_str(schema).unwrap();
    GenericDatumWriter::builder(&schema)
        .build()
        .unwrap()
        .write_value_to_vec(value.resolve(&schema).unwrap())
        .unwrap()
}

#[test]
fn every_type_is_read_as_written() {
    let logical = |ty: &str, logical: &str| json!({ "type": ty, "logicalType": logical }).to_string();
    let table = [
        (r#""null""#.to_owned(), Avro::Null, json!(null)),
        (r#""boolean""#.to_owned(), Avro::Boolean(true), json!(true)),
        (r#""int""#.to_owned(), Avro::Int(-65), json!(-65)),
        (r#""long""#.to_owned(), Avro::Long(i64::MIN), json!(i64::MIN)),
        (r#""long""#.to_owned(), Avro::Long(i64::MAX), json!(i64::MAX)),
        (r#""float""#.to_owned(), Avro::Float(0.5), json!(0.5)),
        (r#""double""#.to_owned(), Avro::Double(-1e300), json!(-1e300)),
        (r#""string""#.to_owned(), Avro::String("é".to_owned()), json!("é")),
        (
            r#"{"type":"enum","name":"E","symbols":["A","B"]}"#.to_owned(),
            Avro::String("B".to_owned()),
            json!("B"),
        ),
        (
            r#"{"type":"array","items":"int"}"#.to_owned(),
            Avro::Array(vec![Avro::Int(1), Avro::Int(2)]),
            json!([1, 2]),
        ),
        (
            r#"{"type":"map","values":"int"}"#.to_owned(),
            Avro::Map([("a".to_owned(), Avro::Int(1))].into()),
            json!({"a": 1}),
        ),
        (
            r#"{"type":"map","values":"string"}"#.to_owned(),
            Avro::Map([("a".to_owned(), Avro::String("1".to_owned()))].into()),
            json!({"a": "1"}),
        ),
        (
            r#"{"type":"map","values":"string","millrace.any":true}"#.to_owned(),
            Avro::Map([("a".to_owned(), Avro::String("{\"b\":[1]}".to_owned()))].into()),
            json!({"a": {"b": [1]}}),
        ),
        (
            r#"["null","int","string"]"#.to_owned(),
            Avro::Union(2, Box::new(Avro::String("x".to_owned()))),
            json!("x"),
        ),
        (logical("int", "date"), Avro::Date(-1), json!("1969-12-31")),
        (logical("long", "timestamp-millis"), Avro::TimestampMillis(7), json!(7)),
        (logical("long", "timestamp-micros"), Avro::TimestampMicros(-1), json!(-1)),
        (logical("long", "timestamp-nanos"), Avro::TimestampNanos(7_999_999), json!(7)),
        (logical("long", "local-timestamp-millis"), Avro::LocalTimestampMillis(7), json!(7)),
        (
            logical("string", "uuid"),
            Avro::Uuid(apache_avro::Uuid::from_u128(1)),
            json!("00000000-0000-0000-0000-000000000001"),
        ),
        (
            r#"{"type":{"type":"fixed","name":"U","size":16},"logicalType":"uuid"}"#.to_owned(),
            Avro::Fixed(16, (0..16).collect()),
            json!("00010203-0405-0607-0809-0a0b0c0d0e0f"),
        ),
        (
            r#"{"type":"record","name":"a.R","fields":[{"name":"n","type":"int"},{"name":"next","type":["null","R"]}]}"#.to_owned(),
            Avro::Record(vec![
                ("n".to_owned(), Avro::Int(1)),
                (
                    "next".to_owned(),
                    Avro::Union(
                        1,
                        Box::new(Avro::Record(vec![
                            ("n".to_owned(), Avro::Int(2)),
                            ("next".to_owned(), Avro::Union(0, Box::new(Avro::Null))),
                        ])),
                    ),
                ),
            ]),
            json!({"n": 1, "next": {"n": 2}}),
        ),
    ];
    for (schema, value, expected) in table {
        assert_eq!(read(&schema, &write(&schema, value)), Ok(expected), "{schema}");
    }
}

#[test]
fn decimals_keep_their_digits() {
    let schema = r#"{"type":"bytes","logicalType":"decimal","precision":20,"scale":2}"#;
    let table: &[(&[u8], &str)] = &[
        (&[0x02, 0x00], "0"),
        (&[0x04, 0x30, 0x39], "123.45"),
        (&[0x02, 0xFF], "-0.01"),
        (&[0x04, 0xCF, 0xC7], "-123.45"),
        (&[0x00], "0"),
    ];
    for (datum, expected) in table {
        assert_eq!(read(schema, datum).map(|number| number.to_string()), Ok((*expected).to_owned()), "{datum:x?}");
    }
}

#[test]
fn blocks_with_sizes_and_several_blocks() {
    let schema = r#"{"type":"array","items":"int"}"#;
    // Count -2 with its 2 bytes, count 1, end.
    assert_eq!(read(schema, &[0x03, 0x04, 0x02, 0x04, 0x02, 0x06, 0x00]), Ok(json!([1, 2, 3])));
}

#[test]
fn references_are_found() {
    let main = r#"{"type":"record","name":"a.Main","fields":[{"name":"x","type":"a.Other"},{"name":"y","type":"a.Other"}]}"#;
    let other = r#"{"type":"record","name":"a.Other","fields":[{"name":"n","type":"a.Third"}]}"#;
    let third = r#"{"type":"enum","name":"a.Third","symbols":["S"]}"#;
    let schema = AvroSchema::parse(main, &[other.to_owned(), third.to_owned()]).unwrap();
    let mut input = Input::new(&[0, 0]);
    assert_eq!(Json::deserialize(schema.datum(&mut input)).unwrap(), json!({"x": {"n": "S"}, "y": {"n": "S"}}));
    assert!(AvroSchema::parse(main, &[]).is_err());
    assert!(AvroSchema::parse("{", &[]).is_err());
}

#[test]
fn hostile_bytes_meet_bounds() {
    let list_of_nothing = r#"{"type":"array","items":"null"}"#;
    let endless = r#"{"type":"record","name":"R","fields":[{"name":"next","type":["null","R"]}]}"#;
    let table: &[(&str, &[u8], &str)] = &[
        (r#""string""#, &[0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01], "bytes expected"),
        (r#""string""#, &[0x01], "length -1"),
        (r#""string""#, &[0x02, 0xFF], "no UTF-8"),
        (r#""long""#, &[0xFF; 11], "at most ten bytes"),
        (r#""long""#, &[0x80], "at most ten bytes"),
        (r#""double""#, &[0; 7], "8 bytes expected, 7 left"),
        (r#""boolean""#, &[2], "boolean of byte 2"),
        (r#"["null","int"]"#, &[0x04], "branch 2 of a union of 2"),
        (r#"{"type":"enum","name":"E","symbols":["A"]}"#, &[0x02], "symbol 1 of 1"),
        (
            list_of_nothing,
            &[0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01],
            "more than 4000000 values",
        ),
        (list_of_nothing, &[0x01, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01], "length -"),
        (endless, &[0x02; 1_000], "nested deeper than 128"),
        (
            r#"{"type":"map","values":"string","millrace.any":true}"#,
            &[0x02, 0x02, b'a', 0x02, b'x', 0x00],
            "map of JSON texts",
        ),
    ];
    for (schema, datum, expected) in table {
        let error = read(schema, datum).unwrap_err();
        assert!(error.contains(expected), "{schema}: {error}");
    }
}

proptest! {
    #[test]
    fn longs_read_back(number: i64) {
        prop_assert_eq!(read(r#""long""#, &write(r#""long""#, Avro::Long(number))), Ok(json!(number)));
    }

    /// This reader and `apache-avro` read the same from any bytes.
    #[test]
    fn any_bytes_are_judged_as_apache_avro_does(bytes in proptest::collection::vec(0u8..8, 0..24)) {
        let text = r#"{"type":"record","name":"R","fields":[{"name":"a","type":["null","long","string"]},{"name":"b","type":{"type":"array","items":"boolean"}},
            {"name":"c","type":{"type":"map","values":"long"}}]}"#;
        let schema = apache_avro::Schema::parse_str(text).unwrap();
        let mut rest = bytes.as_slice();
        let theirs = apache_avro::reader::datum::GenericDatumReader::builder(&schema).build().unwrap().read_value(&mut rest);
        let ours_schema = AvroSchema::parse(text, &[]).unwrap();
        let mut input = Input::new(&bytes);
        let ours = Json::deserialize(ours_schema.datum(&mut input));
        // The specification has no negative length of a text; `apache-avro` treats one as zero.
        if ours.as_ref().is_err_and(|error| format!("{error:?}").contains("length -")) {
            return Ok(());
        }
        prop_assert_eq!(theirs.is_ok(), ours.is_ok(), "{:?} {:?}", theirs, ours);
        if let Ok(theirs) = theirs {
            prop_assert_eq!(rest.len(), input.left());
            let mut theirs = Json::try_from(theirs).unwrap();
            theirs.as_object_mut().unwrap().retain(|_, value| !value.is_null());
            prop_assert_eq!(theirs, ours.unwrap());
        }
    }
}
