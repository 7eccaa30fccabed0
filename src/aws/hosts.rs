//! AWS's host names: which one serves a region, and which ones an answer may refer to.
//!
//! The partition table is docs/KVS.md 1.1, the allow-list is docs/KVS.md 1.2. Only the allow-list stands
//! between a forged or mistaken GetDataEndpoint answer and a request to another host (SSRF), so it is
//! matched by hand, piece by piece, and bound to the region of the request.

/// A group of regions with one way of naming hosts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Partition {
    name: &'static str,
    /// How its regions begin; the standard partition, which takes the rest, has none.
    regions: &'static [&'static str],
    suffix: &'static str,
    dual_stack: Option<&'static str>,
    /// GovCloud's standard hosts are the FIPS ones.
    always_fips: bool,
}

const fn isolated(name: &'static str, regions: &'static [&'static str], suffix: &'static str) -> Partition {
    Partition { name, regions, suffix, dual_stack: None, always_fips: false }
}

const PARTITIONS: [Partition; 8] = [
    Partition {
        name: "aws-cn",
        regions: &["cn-"],
        suffix: "amazonaws.com.cn",
        dual_stack: Some("api.amazonwebservices.com.cn"),
        always_fips: false,
    },
    Partition {
        name: "aws-us-gov",
        regions: &["us-gov-"],
        suffix: "amazonaws.com",
        dual_stack: Some("api.aws"),
        always_fips: true,
    },
    isolated("aws-iso", &["us-iso-"], "c2s.ic.gov"),
    isolated("aws-iso-b", &["us-isob-"], "sc2s.sgov.gov"),
    isolated("aws-iso-e", &["eu-isoe-"], "cloud.adc-e.uk"),
    isolated("aws-iso-f", &["us-isof-", "eu-isof-"], "csp.hci.ic.gov"),
    isolated("aws-eusc", &["eusc-"], "amazonaws.eu"),
    Partition {
        name: "aws",
        regions: &[""],
        suffix: "amazonaws.com",
        dual_stack: Some("api.aws"),
        always_fips: false,
    },
];

fn partition_of(region: &str) -> &'static Partition {
    let mine = |partition: &&Partition| partition.regions.iter().any(|start| region.starts_with(start));
    // The last entry takes every region.
    PARTITIONS.iter().find(mine).unwrap_or(&PARTITIONS[PARTITIONS.len() - 1])
}

/// The partition's name as it stands in ARNs, such as `aws-cn`.
#[must_use]
pub fn partition(region: &str) -> &'static str {
    partition_of(region).name
}

/// True if the text has a region's form, such as `eu-west-1`; nothing else may become part of a host name.
#[must_use]
pub fn is_region(text: &str) -> bool {
    (4..=32).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text.contains('-')
}

/// The host of KVS's control plane in a region.
///
/// # Errors
/// Says that the region's partition has no dual-stack hosts.
pub fn control(region: &str, fips: bool, dual_stack: bool) -> Result<String, &'static str> {
    let partition = partition_of(region);
    let suffix = if dual_stack {
        partition.dual_stack.ok_or("this partition has no dual-stack hosts that are known")?
    } else {
        partition.suffix
    };
    // By AWS's rules GovCloud's plain form is the FIPS host, but its dual-stack form is not.
    let fips = fips || (partition.always_fips && !dual_stack);
    Ok(format!("kinesisvideo{}.{region}.{suffix}", if fips { "-fips" } else { "" }))
}

/// The host of S3 in a region.
#[must_use]
pub fn s3(region: &str) -> String {
    format!("s3.{region}.{}", partition_of(region).suffix)
}

/// True if KVS may send us to this host for data of this region:
/// `<letter>-<8 lowercase hex>.kinesisvideo[-fips].<region>.<suffix of the region's partition>`.
#[must_use]
pub fn is_data(host: &str, region: &str) -> bool {
    let Some((cell, rest)) = host.split_once('.') else { return false };
    let Some((service, rest)) = rest.split_once('.') else { return false };
    let Some(suffix) = rest.strip_prefix(region).and_then(|rest| rest.strip_prefix('.')) else {
        return false;
    };
    let partition = partition_of(region);
    is_region(region)
        && is_cell(cell)
        && matches!(service, "kinesisvideo" | "kinesisvideo-fips")
        && (suffix == partition.suffix || Some(suffix) == partition.dual_stack)
}

/// `b-0123abcd`.
fn is_cell(cell: &str) -> bool {
    let bytes = cell.as_bytes();
    bytes.len() == 10
        && bytes[0].is_ascii_lowercase()
        && bytes[1] == b'-'
        && bytes[2..].iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn control_hosts_are_those_of_the_table() {
        for (region, fips, dual, host) in [
            ("eu-west-1", false, false, "kinesisvideo.eu-west-1.amazonaws.com"),
            ("us-east-1", true, false, "kinesisvideo-fips.us-east-1.amazonaws.com"),
            ("us-east-1", false, true, "kinesisvideo.us-east-1.api.aws"),
            ("us-east-1", true, true, "kinesisvideo-fips.us-east-1.api.aws"),
            ("cn-north-1", false, false, "kinesisvideo.cn-north-1.amazonaws.com.cn"),
            ("cn-north-1", false, true, "kinesisvideo.cn-north-1.api.amazonwebservices.com.cn"),
            ("us-gov-west-1", false, false, "kinesisvideo-fips.us-gov-west-1.amazonaws.com"),
            ("us-gov-west-1", true, true, "kinesisvideo-fips.us-gov-west-1.api.aws"),
            ("us-gov-west-1", false, true, "kinesisvideo.us-gov-west-1.api.aws"),
            ("us-iso-east-1", false, false, "kinesisvideo.us-iso-east-1.c2s.ic.gov"),
            ("us-isob-east-1", false, false, "kinesisvideo.us-isob-east-1.sc2s.sgov.gov"),
            ("eusc-de-east-1", false, false, "kinesisvideo.eusc-de-east-1.amazonaws.eu"),
        ] {
            assert_eq!(control(region, fips, dual).as_deref(), Ok(host));
        }
        assert_eq!(s3("eu-west-1"), "s3.eu-west-1.amazonaws.com");
        assert_eq!(s3("cn-north-1"), "s3.cn-north-1.amazonaws.com.cn");
        assert!(control("us-iso-east-1", false, true).is_err());
        assert_eq!((partition("us-gov-east-1"), partition("ap-southeast-5")), ("aws-us-gov", "aws"));
    }

    #[test]
    fn data_hosts_that_were_seen_are_allowed() {
        for (host, region) in [
            ("b-117b36f5.kinesisvideo.us-west-2.amazonaws.com", "us-west-2"),
            ("s-670061c1.kinesisvideo.ap-southeast-1.amazonaws.com", "ap-southeast-1"),
            ("b-0123abcd.kinesisvideo.cn-north-1.amazonaws.com.cn", "cn-north-1"),
            ("b-0123abcd.kinesisvideo-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
            ("b-0123abcd.kinesisvideo.eu-west-1.api.aws", "eu-west-1"),
        ] {
            assert!(is_data(host, region), "{host}");
        }
    }

    #[test]
    fn nothing_else_is() {
        for host in [
            "",
            "localhost",
            "169.254.169.254",
            "[::1]",
            "kinesisvideo.eu-west-1.amazonaws.com",
            "b-117b36f5.kinesisvideo.us-west-2.amazonaws.com",
            "b-117b36f.kinesisvideo.eu-west-1.amazonaws.com",
            "b-117B36F5.kinesisvideo.eu-west-1.amazonaws.com",
            "bb-117b36f5.kinesisvideo.eu-west-1.amazonaws.com",
            "b-117b36f5.s3.eu-west-1.amazonaws.com",
            "b-117b36f5.kinesisvideo-evil.eu-west-1.amazonaws.com",
            "b-117b36f5.kinesisvideo.eu-west-1.amazonaws.com.evil.example",
            "b-117b36f5.kinesisvideo.eu-west-1.amazonaws.com.cn",
            "b-117b36f5.kinesisvideo.eu-west-1.amazonaws.com.",
            "b-117b36f5.kinesisvideo.eu-west-1.evil.example",
            "evil.example/b-117b36f5.kinesisvideo.eu-west-1.amazonaws.com",
            "b-117b36f5.kinesisvideo.eu-west-1.amazonaws.com@evil.example",
        ] {
            assert!(!is_data(host, "eu-west-1"), "{host}");
        }
        assert!(!is_data("b-117b36f5.kinesisvideo.x.evil.amazonaws.com", "x.evil"));
        for bad in ["", "eu", "eu west-1", "eu-west-1.evil", "EU-WEST-1", "-eu-1", "eu-1-"] {
            assert!(!is_region(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_allowed_ends_in_an_aws_domain(host in "[a-z0-9.@/:-]{0,80}") {
            if is_data(&host, "eu-west-1") {
                let ours = [".eu-west-1.amazonaws.com", ".eu-west-1.api.aws"];
                prop_assert!(ours.iter().any(|end| host.ends_with(end)));
            }
        }

        #[test]
        fn a_cell_of_the_region_is_allowed(letter in "[a-z]", hex in "[0-9a-f]{8}", fips in "(-fips)?") {
            let host = format!("{letter}-{hex}.kinesisvideo{fips}.eu-west-1.amazonaws.com");
            prop_assert!(is_data(&host, "eu-west-1"));
        }
    }
}
