//! Policies' parts as text, the way their authors write them.
//!
//! Cedar prints what it evaluates, `!(a < b)` for `a >= b`, and an explanation should show what stands in the
//! file. What is not known here is left to Cedar's own printing.

use serde_json::Value;

/// `principal in Group::"guards"`; `None` if the slot takes anything or is written in an unknown way.
pub(super) fn scope(policy: &Value, slot: &str) -> Option<String> {
    let constraint = &policy[slot];
    let one = || entity(constraint.get("entity")?);
    match constraint["op"].as_str()? {
        "==" => Some(format!("{slot} == {}", one()?)),
        "in" => match constraint.get("entities") {
            Some(several) => Some(format!("{slot} in [{}]", list(several.as_array()?, entity)?)),
            None => Some(format!("{slot} in {}", one()?)),
        },
        "is" => {
            let kind = constraint["entity_type"].as_str()?;
            match constraint.get("in") {
                Some(within) => Some(format!("{slot} is {kind} in {}", entity(within.get("entity")?)?)),
                None => Some(format!("{slot} is {kind}")),
            }
        }
        _ => None,
    }
}

/// An expression.
pub(super) fn expression(node: &Value) -> Option<String> {
    let (operator, inner) = node.as_object()?.iter().next()?;
    let (left, right) = (|| inner.get("left"), || inner.get("right"));
    Some(match operator.as_str() {
        "Value" => literal(inner)?,
        "Var" => inner.as_str()?.to_owned(),
        "==" | "!=" | "<" | "<=" | ">" | ">=" | "&&" | "||" | "+" | "-" | "*" | "in" => {
            let side = |side: &Value| operand(side, operator);
            format!("{} {operator} {}", side(left()?)?, side(right()?)?)
        }
        "contains" | "containsAll" | "containsAny" | "hasTag" | "getTag" => {
            format!("{}.{operator}({})", tight(left()?)?, expression(right()?)?)
        }
        "isEmpty" => format!("{}.isEmpty()", tight(inner.get("arg")?)?),
        "!" => format!("!{}", tight(inner.get("arg")?)?),
        "neg" => format!("-{}", tight(inner.get("arg")?)?),
        "." => match inner["attr"].as_str()? {
            name if is_word(name) => format!("{}.{name}", tight(left()?)?),
            name => format!("{}[{name:?}]", tight(left()?)?),
        },
        "has" => match inner["attr"].as_str()? {
            name if is_word(name) => format!("{} has {name}", tight(left()?)?),
            name => format!("{} has {name:?}", tight(left()?)?),
        },
        "like" => format!("{} like \"{}\"", tight(left()?)?, pattern(inner["pattern"].as_array()?)?),
        "is" if inner.get("in").is_none() => {
            format!("{} is {}", tight(left()?)?, inner["entity_type"].as_str()?)
        }
        "if-then-else" => format!(
            "if {} then {} else {}",
            expression(&inner["if"])?,
            expression(&inner["then"])?,
            expression(&inner["else"])?
        ),
        "Set" => format!("[{}]", list(inner.as_array()?, expression)?),
        function => call(function, inner.as_array()?)?,
    })
}

/// `ip("10.0.0.0/8")`, `context.source_ip.isInRange(…)`.
fn call(function: &str, arguments: &[Value]) -> Option<String> {
    const CONSTRUCTORS: [&str; 4] = ["ip", "datetime", "duration", "decimal"];
    match arguments.split_first() {
        _ if CONSTRUCTORS.contains(&function) => {
            Some(format!("{function}({})", list(arguments, expression)?))
        }
        Some((on, rest)) => Some(format!("{}.{function}({})", tight(on)?, list(rest, expression)?)),
        None => None,
    }
}

/// An operand beside an operator: in brackets where it has an operator of its own, but for chains of one.
fn operand(node: &Value, beside: &str) -> Option<String> {
    let text = expression(node)?;
    let own = node.as_object()?.keys().next()?.as_str();
    let loose = match own {
        "&&" | "||" => own != beside,
        "if-then-else" => true,
        "==" | "!=" | "<" | "<=" | ">" | ">=" | "in" | "has" | "like" | "is" => {
            !matches!(beside, "&&" | "||")
        }
        "+" | "-" | "*" => matches!(beside, "+" | "-" | "*"),
        _ => false,
    };
    Some(if loose { format!("({text})") } else { text })
}

/// An operand that binds closely: in brackets if it has any operator.
fn tight(node: &Value) -> Option<String> {
    let text = expression(node)?;
    let own = node.as_object()?.keys().next()?.as_str();
    const LOOSE: [&str; 18] = [
        "&&",
        "||",
        "if-then-else",
        "==",
        "!=",
        "<",
        "<=",
        ">",
        ">=",
        "in",
        "has",
        "like",
        "is",
        "+",
        "-",
        "*",
        "!",
        "neg",
    ];
    Some(if LOOSE.contains(&own) { format!("({text})") } else { text })
}

fn literal(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(format!("{text:?}")),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Object(map) => entity(map.get("__entity")?),
        _ => None,
    }
}

fn entity(value: &Value) -> Option<String> {
    let value = value.get("__entity").unwrap_or(value);
    Some(format!("{}::{:?}", value["type"].as_str()?, value["id"].as_str()?))
}

fn pattern(parts: &[Value]) -> Option<String> {
    let part = |part: &Value| match part.get("Literal") {
        Some(text) => {
            Some(text.as_str()?.replace('*', "\\*").escape_default().to_string().replace("\\\\*", "\\*"))
        }
        None => Some("*".to_owned()),
    };
    parts.iter().map(part).collect()
}

fn list(items: &[Value], text: impl Fn(&Value) -> Option<String>) -> Option<String> {
    Some(items.iter().map(text).collect::<Option<Vec<_>>>()?.join(", "))
}

fn is_word(name: &str) -> bool {
    const RESERVED: [&str; 9] = ["true", "false", "if", "then", "else", "in", "is", "like", "has"];
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !RESERVED.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cedar_policy::Policy;

    fn est(text: &str) -> Value {
        text.parse::<Policy>().unwrap().to_json().unwrap()
    }

    #[test]
    fn what_was_written_is_what_is_shown() {
        for text in [
            r#"context.mode == "LIVE" || context.start_age <= 86400"#,
            r#"principal.clearance >= 3 && principal has clearance"#,
            r#"!(principal == User::"eve") && resource in StreamSet::"say \"a\"""#,
            r#"context.source_ip.isInRange(ip("10.0.0.0/8"))"#,
            r#"context.now.offset(duration("1h")).toTime() >= duration("22h")"#,
            r#"resource.hasTag("site") && resource.getTag("site") == "berlin""#,
            r#"resource.name like "lobby-*" || resource.name like "a\*b""#,
            r#"principal in [Group::"a", Group::"b"]"#,
            r#"((context.start_age + 1) * 2) - -3 > 4 || principal["cost-center"] != 5"#,
            r#"if principal has x then principal.x else [1, 2].contains(3)"#,
            r#"(true || false) && (true || !false) && [true].isEmpty()"#,
            r#"principal is User && resource has "in""#,
            r#"(principal has sites && principal.sites.containsAny(["a"])) == true"#,
        ] {
            let policy = est(&format!("permit (principal, action, resource) when {{ {text} }};"));
            let shown = expression(&policy["conditions"][0]["body"]).unwrap_or_default();
            assert_eq!(shown, text);
            let again = est(&format!("permit (principal, action, resource) when {{ {shown} }};"));
            assert_eq!(again["conditions"], policy["conditions"], "{shown}");
        }
    }

    #[test]
    fn scopes_are_shown_as_written() {
        for (slot, text) in [
            ("principal", r#"principal in Group::"guards""#),
            ("principal", r#"principal == User::"alice""#),
            ("principal", "principal is User"),
            ("principal", r#"principal is User in Group::"guards""#),
            ("action", r#"action in Action::"View""#),
            ("action", r#"action in [Action::"View", Action::"GetClip"]"#),
            ("action", r#"action == Action::"GetClip""#),
            ("resource", r#"resource in StreamSet::"lobby""#),
        ] {
            let scope_text =
                ["principal", "action", "resource"].map(|name| if name == slot { text } else { name });
            let policy = est(&format!("permit ({});", scope_text.join(", ")));
            assert_eq!(scope(&policy, slot).as_deref(), Some(text));
        }
        assert_eq!(scope(&est("permit (principal, action, resource);"), "action"), None);
    }
}
