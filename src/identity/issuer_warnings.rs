//! What is allowed in the settings of issuers and probably not meant: anybody can have tokens from some
//! issuers, and the groups of two issuers can be spelled alike.

use super::issuer_config::IssuerConfig;
use super::issuer_kind::IssuerKind;
use crate::setting::Mistake;

/// Issuers that sign tokens for anybody, by the beginning of their `iss`, and the claim that says whose
/// token it is.
const OPEN: [(&str, &str); 9] = [
    ("https://token.actions.githubusercontent.com", "{ \"/repository_owner_id\" = \"…\" }"),
    ("https://gitlab.com", "{ \"/namespace_id\" = \"…\" }"),
    ("https://accounts.google.com", "{ \"/hd\" = \"example.com\" }"),
    ("accounts.google.com", "{ \"/hd\" = \"example.com\" }"),
    ("https://securetoken.google.com/", "{ \"/email_verified\" = true } and a claim that you set"),
    ("https://appleid.apple.com", "{ \"/sub\" = [\"…\"] }"),
    ("https://agent.buildkite.com", "{ \"/organization_slug\" = \"…\" }"),
    ("https://app.terraform.io", "{ \"/terraform_organization_id\" = \"…\" }"),
    // The tenant of personal Microsoft accounts.
    ("https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad", "{ \"/sub\" = [\"…\"] }"),
];

/// Names of tenants in addresses of Entra that no token has in its `iss`.
const NO_TENANT: [&str; 4] = ["/common", "/organizations", "/consumers", "/{tenantid}"];

/// What is probably not meant, each with its key and what to write instead.
#[must_use]
pub fn warnings(issuers: &[IssuerConfig]) -> Vec<Mistake> {
    let mut found = Vec::new();
    for (index, issuer) in issuers.iter().enumerate() {
        let mut warn = |key: &str, problem: String| {
            found.push(Mistake::at(format!("issuer[{index}].{key}"), problem));
        };
        let prefixed = !issuer.subject_prefix.is_empty() || !issuer.group_prefix.is_empty();
        if issuer.require.is_empty()
            && !prefixed
            && let Some(problem) = anybody(issuer)
        {
            warn("require", problem);
        }
        if issuer.issuer.as_slice().iter().any(|name| is_no_tenant(name)) {
            let problem = "no token of Entra has this `iss`: it names the tenant; write one [[issuer]] for each \
                           tenant, with `require` where outsiders are guests";
            warn("issuer", problem.into());
        }
        let unprefixed = |one: &&IssuerConfig| one.group_prefix.is_empty();
        let other = |one: &&IssuerConfig| one.name() != issuer.name();
        if unprefixed(&issuer)
            && let Some(earlier) = issuers[..index].iter().filter(unprefixed).find(other)
        {
            let name = earlier.name();
            let problem = format!(
                "a group of this issuer is the same as the group of {name} that is spelled alike; write \
                 group_prefix, here or there"
            );
            warn("group_prefix", problem);
        }
    }
    found
}

/// Why a token of this issuer says little about its owner.
fn anybody(issuer: &IssuerConfig) -> Option<String> {
    if issuer.kind == IssuerKind::Cognito || issuer.name().starts_with("https://cognito-idp.") {
        let problem = "if the user pool allows sign-up, anybody can have a token of it; write require, such as \
                       { \"/cognito:groups\" = { contains = \"…\" } }";
        return Some(problem.into());
    }
    let named = |name: &String| {
        let open = OPEN.iter().find(|(start, _)| {
            name.strip_prefix(start)
                .is_some_and(|rest| rest.is_empty() || start.ends_with('/') || rest.starts_with('/'))
        });
        open.map(|(_, example)| {
            format!("anybody can have a token of {name}; write require, such as {example}, or subject_prefix")
        })
    };
    issuer.issuer.as_slice().iter().find_map(named)
}

fn is_no_tenant(name: &str) -> bool {
    name.strip_prefix("https://login.microsoftonline.com")
        .is_some_and(|path| NO_TENANT.iter().any(|tenant| path.starts_with(tenant)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warned(texts: &[&str]) -> Vec<String> {
        let read = |text: &&str| {
            toml::from_str(&format!("audience = ['a']\nalgorithms = ['RS256']\ndiscovery = true\n{text}"))
                .unwrap()
        };
        let issuers: Vec<IssuerConfig> = texts.iter().map(read).collect();
        warnings(&issuers).into_iter().map(|m| format!("{:?}: {}", m.place, m.problem)).collect()
    }

    #[test]
    fn issuers_of_anybodys_tokens_need_a_claim_or_a_prefix() {
        for name in [
            "https://token.actions.githubusercontent.com",
            "https://token.actions.githubusercontent.com/octo-enterprise",
            "https://gitlab.com",
            "https://accounts.google.com",
            "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_AbCdEfGhI",
            "https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0",
            "https://login.microsoftonline.com/common/v2.0",
        ] {
            assert_eq!(warned(&[&format!("issuer = '{name}'")]).len(), 1, "{name}");
        }
        let github = "issuer = 'https://token.actions.githubusercontent.com'";
        for more in ["require = { '/repository_owner' = 'octo-org' }", "subject_prefix = 'github:'"] {
            assert_eq!(warned(&[&format!("{github}\n{more}")]), Vec::<String>::new());
        }
        for name in
            ["https://gitlab.com.example.net", "https://login.example.com/", "https://gitlab.example.com"]
        {
            assert_eq!(warned(&[&format!("issuer = '{name}'")]), Vec::<String>::new(), "{name}");
        }
        assert_eq!(warned(&["issuer = ['https://login.example.com', 'accounts.google.com']"]).len(), 1);
    }

    #[test]
    fn groups_of_two_issuers_need_a_prefix() {
        let (a, b) = ("issuer = 'https://a/'", "issuer = 'https://b/'");
        assert_eq!(warned(&[a, b]).len(), 1);
        assert_eq!(warned(&[a, a]), Vec::<String>::new(), "it is the same issuer");
        assert_eq!(warned(&[a, &format!("{b}\ngroup_prefix = 'b:'")]), Vec::<String>::new());
        assert_eq!(warned(&[&format!("{a}\ngroup_prefix = 'a:'"), b]), Vec::<String>::new());
    }
}
