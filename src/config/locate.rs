//! Where in a YAML text a value stands.
//!
//! Deserializing loses positions, and a hand-written scanner would be wrong about quotes, flow style or comments
//! some day. So the parser itself is asked once more: walk to the value, refuse it there, and read the position from
//! the parser's own complaint. Only ever done for a config that is refused, so that its price does not matter.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A line and a column, both counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub line: usize,
    pub column: usize,
}

/// One step on the way from the top of the file to a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Key(&'static str),
    Item(usize),
}

impl Place {
    /// The start of a text.
    pub(super) const TOP: Self = Self { line: 1, column: 1 };

    /// Where the next character stands.
    pub(super) fn after(text: &str) -> Self {
        let last_line = text.rsplit('\n').next().unwrap_or_default();
        Self { line: text.matches('\n').count() + 1, column: last_line.chars().count() + 1 }
    }
}

/// The place of the first of these values that the text has. Where it has none of them (each has its default), the
/// place of the innermost part of the first path that is there.
pub(super) fn locate(text: &str, paths: &[Vec<Step>]) -> Place {
    let first = paths.first().map_or(&[][..], Vec::as_slice);
    let around = (0..first.len()).rev().map(|length| &first[..length]);
    paths.iter().map(Vec::as_slice).chain(around).find_map(|path| locate_exactly(text, path)).unwrap_or(Place::TOP)
}

/// The place of the first key that its mapping has already.
pub(super) fn locate_repeated_key(text: &str) -> Option<Place> {
    place_of_error(NoRepeatedKey.deserialize(serde_yaml::Deserializer::from_str(text)))
}

fn locate_exactly(text: &str, path: &[Step]) -> Option<Place> {
    place_of_error(Walk(path).deserialize(serde_yaml::Deserializer::from_str(text)))
}

fn place_of_error(walked: Result<(), serde_yaml::Error>) -> Option<Place> {
    let location = walked.err()?.location()?;
    Some(Place { line: location.line(), column: location.column() })
}

/// Walks the path. Ends in an error at the value, and without one where the path leads nowhere.
#[derive(Clone, Copy)]
struct Walk<'p>(&'p [Step]);

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.0.first() {
            None => deserializer.deserialize_any(Here),
            Some(_) => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a part of the path")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match self.0 {
                [Step::Key(wanted), rest @ ..] if key == *wanted => map.next_value_seed(Walk(rest))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let mut position = 0;
        loop {
            let found = match self.0 {
                [Step::Item(wanted), rest @ ..] if position == *wanted => items.next_element_seed(Walk(rest))?,
                _ => items.next_element::<IgnoredAny>()?.map(drop),
            };
            if found.is_none() {
                return Ok(());
            }
            position += 1;
        }
    }
}

/// Refuses whatever it visits (every `visit_*` it does not define is an error), and so has its place told.
struct Here;

impl<'de> Visitor<'de> for Here {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing: this is the place")
    }

    fn visit_none<E: Error>(self) -> Result<(), E> {
        Err(E::custom("here"))
    }
}

/// Walks everything, and ends in an error at a key that its mapping has already. (The parser bounds the depth.)
#[derive(Clone, Copy)]
struct NoRepeatedKey;

impl<'de> DeserializeSeed<'de> for NoRepeatedKey {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for NoRepeatedKey {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("mappings without repeated keys")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        while map.next_key_seed(NewKey(&mut seen))?.is_some() {
            map.next_value_seed(self)?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// A key, refused at its own place if it is among those seen.
struct NewKey<'s>(&'s mut HashSet<String>);

impl<'de> DeserializeSeed<'de> for NewKey<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for NewKey<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a new key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<(), E> {
        if self.0.insert(key.to_owned()) { Ok(()) } else { Err(E::custom("here")) }
    }
}

#[cfg(test)]
mod tests {
    use super::Step::{Item, Key};
    use super::*;

    const TEXT: &str = "\
# port: 1
a: 'port: 2'
replicas:
  - { id: 1, \"port\": 5001 }
  -
    id: 2   # port: 9
    port:
      5002
limits:
    list: 7
";

    #[test]
    fn finds_values_in_block_and_flow_style() {
        let cases: &[(&[Step], usize, usize)] = &[
            (&[Key("a")], 2, 4),
            (&[Key("replicas")], 4, 3),
            (&[Key("replicas"), Item(0)], 4, 5),
            (&[Key("replicas"), Item(0), Key("port")], 4, 22),
            (&[Key("replicas"), Item(1), Key("id")], 6, 9),
            (&[Key("replicas"), Item(1), Key("port")], 8, 7),
            (&[Key("limits"), Key("list")], 10, 11),
        ];
        for &(path, line, column) in cases {
            assert_eq!(locate(TEXT, &[path.to_vec()]), Place { line, column }, "{path:?}");
        }
    }

    #[test]
    fn what_is_not_there_is_where_it_would_be() {
        let place = |path: &[Step]| locate(TEXT, &[path.to_vec()]);
        assert_eq!(place(&[Key("limits"), Key("line_bytes")]), place(&[Key("limits")]));
        assert_eq!(place(&[Key("replicas"), Item(7)]), place(&[Key("replicas")]));
        assert_eq!(locate("", &[vec![Key("replicas")]]), Place::TOP);
    }

    #[test]
    fn of_two_values_the_one_that_is_there_is_named() {
        let paths = [vec![Key("secret")], vec![Key("a")]];
        assert_eq!(locate(TEXT, &paths), Place { line: 2, column: 4 });
    }

    #[test]
    fn a_key_is_repeated_only_within_its_mapping() {
        assert_eq!(locate_repeated_key(TEXT), None);
        let text = "a: {b: 1}\nc: [{b: 1}, {b: 2, d: null, b: 1.5}]";
        assert_eq!(locate_repeated_key(text), Some(Place { line: 2, column: 29 }));
    }
}
