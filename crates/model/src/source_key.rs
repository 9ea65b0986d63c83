//! `sourceKey`: `sourceID@sourceInstanceID.sourceType`.

use crate::{Map, Text, Value};

/// Id, instance and type. Ids may hold an `@` and instances a dot, so the last of each divides.
/// `None` where a part is missing or blank.
pub fn parts(source_key: &str) -> Option<[&str; 3]> {
    let (id, rest) = source_key.rsplit_once('@')?;
    let (instance, ty) = rest.rsplit_once('.')?;
    let parts = [id, instance, ty];
    parts.iter().all(|part| !part.is_empty()).then_some(parts)
}

/// The key object of a `sourceKey`, with the parts that can be derived.
pub fn object(source_key: &str) -> Map {
    fields(source_key).map(|(name, text)| (Text::const_new(name), Value::text(text))).collect()
}

/// Whether a map is the key object of a `sourceKey`.
pub fn is_object_of(map: &Map, source_key: &str) -> bool {
    map.iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .eq(fields(source_key).map(|(name, text)| (name, Some(text))))
}

/// The fields of a key object, ascending by name.
fn fields(source_key: &str) -> impl Iterator<Item = (&'static str, &str)> {
    let [id, instance, ty] = parts(source_key).map_or([None; 3], |parts| parts.map(Some));
    let fields = [
        ("sourceID", id),
        ("sourceInstanceID", instance),
        ("sourceKey", Some(source_key)),
        ("sourceType", ty),
    ];
    fields.into_iter().filter_map(|(name, text)| Some((name, text?)))
}
