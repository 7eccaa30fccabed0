//! The schema that policies are checked against: `schema.cedarschema`, with this configuration's claims and
//! sets.

use super::config::{AttributeType, Attributes, Config};
use crate::setting::Mistake;
use cedar_policy::Schema;

const TEXT: &str = include_str!("schema.cedarschema");
const USER: &str = "entity User in [Group];";
const STREAM_SET: &str = "entity StreamSet;";
const PART: &str = "\"part\": {},";

/// The schema and its text; the text is part of the policy version.
pub(super) fn build(config: &Config, attributes: &Attributes) -> Result<(Schema, String), Vec<Mistake>> {
    let mistakes: Vec<Mistake> =
        attributes.0.keys().filter(|name| !speakable(name)).map(|name| refused(name)).collect();
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let claim = |(name, kind): (&String, &AttributeType)| format!("    \"{name}\"?: {},\n", kind.in_cedar());
    let claims: String = attributes.0.iter().map(claim).collect();
    // An enumeration holds at least one name; without sets, it holds one that no set can have.
    let names: Vec<String> = match config.stream_sets.len() {
        0 => vec![r#""\u{0}""#.into()],
        _ => config.stream_sets.keys().map(|name| format!("{name:?}")).collect(),
    };
    let pieces: Vec<String> =
        config.part_names().into_iter().map(|name| format!("\"{name}\"?: String")).collect();
    let text = TEXT
        .replace(PART, &format!("\"part\": {{ {} }},", pieces.join(", ")))
        .replace(USER, &format!("entity User in [Group] = {{\n{claims}}};"))
        .replace(STREAM_SET, &format!("entity StreamSet enum [{}];", names.join(", ")));
    match Schema::from_cedarschema_str(&text) {
        Ok((schema, _warnings)) => Ok((schema, text)),
        Err(error) => Err(vec![Mistake::at("policy", format!("the schema of policies: {error}"))]),
    }
}

fn speakable(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
}

fn refused(name: &str) -> Mistake {
    Mistake::at(
        "issuer",
        format!("the claim attribute `{name}` needs a name of letters, digits, '_', '-' and '.'"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_text_is_a_schema_and_its_lines_are_replaced() {
        assert_eq!(Schema::from_cedarschema_str(TEXT).unwrap().1.count(), 0);
        let mut config = Config {
            stream_names: vec![crate::policy::NamePattern::parse("{customer}-{in}-*").unwrap()],
            ..Config::default()
        };
        let attributes = Attributes(
            [
                ("department", AttributeType::String),
                ("cost-center", AttributeType::Long),
                ("sites", AttributeType::Set),
                ("in", AttributeType::Bool),
                ("network", AttributeType::Ip),
                ("until", AttributeType::Datetime),
            ]
            .map(|(name, kind)| (name.to_owned(), kind))
            .into(),
        );
        let (_, text) = build(&config, &attributes).unwrap();
        assert!(!text.contains(USER) && !text.contains(STREAM_SET) && !text.contains(PART), "{text}");
        config.stream_sets.insert("say \"lobby\"\\".into(), vec!["*".into()]);
        build(&config, &attributes).unwrap();
        assert_eq!(
            build(&config, &Attributes([("a b".into(), AttributeType::Bool)].into())).unwrap_err().len(),
            1
        );
    }
}
