//! Mistakes in the settings of issuers.

use super::super::algorithm::Algorithm;
use super::*;

const GOOD: &str = r#"
    issuer = "https://login.example.com/"
    audience = ["kvs-edge"]
    algorithms = ["RS256", "ES256"]
    jwks = "https://login.example.com/.well-known/jwks.json"
    claims = { subject = "/sub", groups = "/groups" }
"#;

fn one(text: &str) -> IssuerConfig {
    let mut issuers = [toml::from_str(text).unwrap()];
    IssuerConfig::complete(&mut issuers);
    let [issuer] = issuers;
    issuer
}

fn mistakes(edit: impl FnOnce(&mut IssuerConfig)) -> Vec<String> {
    let mut issuer = one(GOOD);
    edit(&mut issuer);
    let mut found = Vec::new();
    issuer.check(0, &mut found);
    found.into_iter().map(|m| format!("{:?}: {}", m.place, m.problem)).collect()
}

#[test]
fn the_example_of_the_design_is_good() {
    assert_eq!(mistakes(|_| {}), Vec::<String>::new());
    let issuer = one(GOOD);
    assert_eq!(one(&toml::to_string(&issuer).unwrap()), issuer);
}

#[test]
fn each_mistake_names_its_key() {
    type Edit = fn(&mut IssuerConfig);
    let cases: [(&str, Edit); 22] = [
        ("issuer[0].issuer", |i| i.issuer = "".into()),
        ("issuer[0].audience", |i| i.audience.clear()),
        ("issuer[0].algorithms", |i| i.algorithms.clear()),
        ("issuer[0].algorithms", |i| i.algorithms.push(Algorithm::HS256)),
        ("issuer[0].jwks", |i| i.jwks = None),
        ("issuer[0].jwks", |i| i.discovery = true),
        ("issuer[0].jwks", |i| i.jwks = Some(JwksSource::parse("http://login.example.com/keys").unwrap())),
        ("issuer[0].leeway", |i| i.leeway = Span::seconds(61)),
        ("issuer[0].max_lifetime", |i| i.max_lifetime = Span::seconds(0)),
        ("issuer[0].refresh", |i| i.refresh = Span::seconds(1)),
        ("issuer[0].stale_max", |i| i.stale_max = Span::seconds(1)),
        ("issuer[0].types", |i| i.types.clear()),
        ("issuer[0].client_id", |i| i.client_id = Some(String::new())),
        ("issuer[0].issuer", |i| {
            i.jwks = None;
            i.discovery = true;
            i.issuer = "login".into();
        }),
        ("issuer[0].issuer", |i| i.issuer = vec!["https://a/".to_owned(), String::new()].into()),
        ("issuer[0].audience_claim", |i| i.audience_claim = Some("aud".into())),
        ("issuer[0].require", |i| i.require = toml::from_str("'token_use' = 'access'").unwrap()),
        ("issuer[0].signer", |i| i.signer = Some("arn:aws:x".into())),
        ("issuer[0].key_url", |i| i.key_url = Some(JwksSource::parse("https://a/k").unwrap())),
        ("issuer[0].jwks", |i| i.discovery_url = Some(JwksSource::parse("https://a/d").unwrap())),
        ("issuer[0].ca", |i| {
            i.jwks = Some(JwksSource::parse("file:jwks.json").unwrap());
            i.ca = Some(crate::setting::SecretSource::File("ca.pem".into()));
        }),
        ("issuer[0].issuer", |i| i.kind = IssuerKind::Spiffe),
    ];
    for (key, edit) in cases {
        let found = mistakes(edit);
        assert!(found.len() == 1 && found[0].contains(&format!("{key:?}")), "{key}: {found:?}");
    }
}

#[test]
fn plain_http_is_for_this_machine() {
    for url in ["http://127.0.0.1:4000/k", "http://[::1]:4000/k", "http://localhost/k"] {
        assert!(mistakes(|i| i.jwks = Some(JwksSource::parse(url).unwrap())).is_empty(), "{url}");
    }
    for url in ["http://10.0.0.1/k", "http://localhost.example.com/k", "http://127.0.0.1.example.com/k"] {
        assert!(!mistakes(|i| i.jwks = Some(JwksSource::parse(url).unwrap())).is_empty(), "{url}");
    }
}

fn all(texts: &[String]) -> Vec<String> {
    let mut issuers: Vec<IssuerConfig> = texts.iter().map(|text| toml::from_str(text).unwrap()).collect();
    IssuerConfig::complete(&mut issuers);
    let mut found = Vec::new();
    IssuerConfig::check_all(&issuers, &mut found);
    found.into_iter().map(|m| format!("{:?}: {}", m.place, m.problem)).collect()
}

#[test]
fn the_same_issuer_twice_needs_another_audience_or_another_place() {
    let with = |more: &str| GOOD.replace("claims =", &format!("{more}\nclaims ="));
    let for_another = GOOD.replace("\"kvs-edge\"", "\"another\"");
    assert_eq!(all(&[GOOD.into(), GOOD.into()]).len(), 1);
    assert_eq!(all(&[with("places = ['bearer']"), GOOD.into()]).len(), 1, "everywhere is there too");
    assert_eq!(all(&[with("places = ['X-A']"), with("places = ['bearer', 'x-a']")]).len(), 1);
    assert_eq!(all(&[GOOD.into(), for_another]), Vec::<String>::new());
    assert_eq!(all(&[with("places = ['bearer']"), with("places = ['X-A']")]), Vec::<String>::new());
    let name = "\"https://login.example.com/\"";
    let spelled = GOOD.replacen(name, &format!("[\"login\", {name}]"), 1);
    assert_eq!(all(&[spelled, GOOD.into()]).len(), 1, "by one of its spellings");
}

#[test]
fn no_prefix_begins_with_another_issuers() {
    let with = |host: &str, more: &str| {
        GOOD.replace("claims =", &format!("{more}\nclaims ="))
            .replace("https://login", &format!("https://{host}"))
    };
    let pair = |one: &str, two: &str| all(&[with("a", one), with("b", two)]).len();
    assert_eq!(pair("group_prefix = 'a:'", "group_prefix = 'a:b:'"), 1);
    assert_eq!(pair("subject_prefix = 'ab'", "subject_prefix = 'a'"), 1);
    assert_eq!(pair("group_prefix = 'a:'", "group_prefix = 'b:'"), 0);
    assert_eq!(pair("group_prefix = 'a:'", "group_prefix = 'a:'"), 0, "shared on purpose");
    assert_eq!(pair("group_prefix = 'a:'", "subject_prefix = 'a:b'"), 0);
}

#[test]
fn places_that_are_not_read_are_mistakes() {
    let (mut found, settings) = (Vec::new(), Config { headers: vec!["X-A".into()], ..Config::default() });
    let mut issuer = one(GOOD);
    issuer.places = toml::from_str::<toml::Table>("p = ['x-a', 'bearer', 'X-B', 'cookie']").unwrap()["p"]
        .clone()
        .try_into()
        .unwrap();
    IssuerConfig::check_places(&[issuer], &settings, &mut found);
    assert_eq!(found.len(), 2, "{found:?}");
}

#[test]
fn a_load_balancer_is_named_by_its_arn() {
    let arn = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:loadbalancer/app/edge/50dc6c495c0c9188";
    let text = format!("kind = 'alb'\nissuer = 'https://a/'\naudience = ['client']\nsigner = '{arn}'");
    let good = one(&text);
    let mut found = Vec::new();
    good.check(0, &mut found);
    assert_eq!(found, []);
    let url = good.key_url.as_ref().unwrap().to_string();
    assert_eq!(url, "https://public-keys.auth.elb.eu-west-1.amazonaws.com/");
    let other = arn.replace("eu-west-1", "us-east-1");
    for bad in [
        text.replace(arn, "arn:aws:iam::1:role/x"),
        text.replace(&format!("'{arn}'"), &format!("['{arn}', '{other}']")),
        format!("{text}\njwks = 'https://a/keys'"),
        format!("{text}\nplaces = ['bearer']"),
        format!("{text}\nkey_url = 'http://10.0.0.1/'"),
        text.replace("audience = ['client']", ""),
        text.replace(&format!("signer = '{arn}'"), ""),
    ] {
        let mut found = Vec::new();
        one(&bad).check(0, &mut found);
        assert_eq!(found.len(), 1, "{bad}: {found:?}");
    }
}

#[test]
fn an_attribute_has_one_type_for_all_issuers() {
    let issuer = |name: &str, kind: &str| -> IssuerConfig {
        let claims = format!("[claims]\nlevel = {{ pointer = '/{name}', type = '{kind}' }}");
        let text = GOOD.replace("claims = {", "# ").replace("https://login", &format!("https://{name}"));
        one(&format!("{text}\n{claims}"))
    };
    let check = |issuers: &[IssuerConfig]| {
        let mut found = Vec::new();
        IssuerConfig::check_all(issuers, &mut found);
        found
    };
    assert_eq!(check(&[issuer("a", "long"), issuer("b", "long")]), []);
    assert_eq!(check(&[issuer("a", "set"), issuer("b", "words")]), [], "both are sets");
    let found = check(&[issuer("a", "long"), issuer("b", "string")]);
    assert!(
        found.len() == 1 && format!("{:?}", found[0].place).contains("issuer[1].claims.level"),
        "{found:?}"
    );
}
