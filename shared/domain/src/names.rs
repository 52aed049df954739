//! Texts that callers choose, each as a type that can only hold what is allowed (invariants, threats 3.7 and 3.8).

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

/// A text that a caller chose is not of the allowed form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadName(pub &'static str);

macro_rules! names {
    ($($(#[$attribute:meta])* $name:ident $check:ident $rule:literal)*) => {$(
        $(#[$attribute])*
        #[derive(Clone, Debug, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Reads a text of the allowed form.
            ///
            /// # Errors
            /// When it is not; the error says what is allowed.
            pub fn parse(text: &str) -> Result<Self, BadName> {
                if $check(text) { Ok(Self(text.to_owned())) } else { Err(BadName($rule)) }
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadName;

            fn try_from(text: String) -> Result<Self, BadName> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }
    )*};
}

names! {
    /// A user name at GitHub, which ignores the case of letters: two that differ in case alone are one person's.
    GithubName is_github_name "a GitHub user name has 1 to 39 letters, digits and single hyphens, and neither begins nor ends with a hyphen"
    /// The name of an environment variable.
    #[derive(PartialEq, Eq, PartialOrd, Ord, Hash)]
    EnvName is_env_name "an environment variable's name has up to 128 letters, digits and underscores, does not begin with a digit, and SLIPWAY_ and LD_ names are reserved"
    /// A container image: `registry/repository:tag@digest`.
    #[derive(PartialEq, Eq, PartialOrd, Ord, Hash)]
    ImageName is_image_name "an image is [registry/]repository[:tag][@digest] in at most 255 characters"
    /// A job's name, for people; it identifies nothing.
    #[derive(PartialEq, Eq, PartialOrd, Ord, Hash)]
    JobName is_job_name "a name has 1 to 63 letters, digits, dots, hyphens and underscores, and begins with a letter or digit"
    /// A tenant's name, for people; it identifies nothing.
    #[derive(PartialEq, Eq, PartialOrd, Ord, Hash)]
    TenantName is_label "a tenant's name has 1 to 200 characters, none of them a control character, and something that can be seen"
    /// What a key or a credential is called, for people.
    #[derive(PartialEq, Eq, PartialOrd, Ord, Hash)]
    Label is_label "a name has 1 to 200 characters, none of them a control character, and something that can be seen"
    /// An e-mail address, as far as it can be told without writing to it.
    #[derive(PartialEq, Eq, PartialOrd, Ord, Hash)]
    Email is_email "an e-mail address is name@domain in at most 254 characters"
    /// A disk's name, unique among its owner's.
    #[derive(PartialEq, Eq, PartialOrd, Ord, Hash)]
    DiskName is_disk_name "a disk's name has 1 to 63 letters, digits, hyphens and underscores"
    /// A model's name or id, as Hugging Face forms them: `meta-llama/Llama-3.1-8B-Instruct`. It can stand in a path and in a list of
    /// arguments: no part of it is `.` or `..`, or begins with a hyphen.
    #[derive(PartialEq, Eq, PartialOrd, Ord, Hash)]
    ModelName is_model_name "a model's name is name or organisation/name in at most 128 letters, digits, dots, hyphens and underscores, each part beginning with a letter or digit"
    /// A word about a model, such as its family or its size, for people.
    #[derive(PartialEq, Eq, PartialOrd, Ord, Hash)]
    ModelWord is_job_name "it has 1 to 63 letters, digits, dots, hyphens and underscores, and begins with a letter or digit"
    /// A cloud's region, such as `us-west-2`: it may become part of a host name (invariants, threat 3.4).
    #[derive(PartialEq, Eq, PartialOrd, Ord, Hash)]
    RegionName is_region_name "a region has 1 to 40 lower-case letters, digits and hyphens, and begins with a letter"
}

fn is_github_name(text: &str) -> bool {
    let edges = !text.starts_with('-') && !text.ends_with('-') && !text.contains("--");
    (1..=39).contains(&text.len()) && edges && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn is_env_name(text: &str) -> bool {
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    // LD_ names would reach into the programs that supervise the job; SLIPWAY_ names are what we tell it.
    let reserved = ["SLIPWAY_", "LD_"].iter().any(|prefix| text.starts_with(prefix));
    first && text.len() <= 128 && !reserved && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn is_image_name(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'/' | b':' | b'@');
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    let parts = text.split('/').all(|part| !part.is_empty() && !part.starts_with('.'));
    first && parts && text.len() <= 255 && text.bytes().all(allowed)
}

fn is_label(text: &str) -> bool {
    let count = text.chars().count();
    (1..=200).contains(&count) && !text.chars().any(char::is_control) && !text.trim().is_empty()
}

/// RFC 5321 allows more than this, which nobody uses, and 254 characters at most (its erratum 1690).
fn is_email(text: &str) -> bool {
    let plain = text.bytes().all(|b| b.is_ascii_graphic() && !b"\"(),:;<>[]\\".contains(&b));
    let Some((name, domain)) = text.split_once('@') else { return false };
    let labels = domain.split('.').all(|label| {
        let allowed = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        (1..=63).contains(&label.len()) && allowed && !label.starts_with('-') && !label.ends_with('-')
    });
    plain && text.len() <= 254 && (1..=64).contains(&name.len()) && labels
}

fn is_job_name(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    first && text.len() <= 63 && text.bytes().all(allowed)
}

fn is_model_name(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let part = |part: &str| part.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric()) && part.bytes().all(allowed);
    text.len() <= 128 && text.split('/').count() <= 2 && text.split('/').all(part)
}

fn is_region_name(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
    first && text.len() <= 40 && !text.ends_with('-') && text.bytes().all(allowed)
}

fn is_disk_name(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    (1..=63).contains(&text.len()) && text.bytes().all(allowed)
}

impl GithubName {
    fn folded(&self) -> impl Iterator<Item = u8> {
        self.0.bytes().map(|byte| byte.to_ascii_lowercase())
    }
}

impl PartialEq for GithubName {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for GithubName {}

impl PartialOrd for GithubName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for GithubName {
    fn cmp(&self, other: &Self) -> Ordering {
        self.folded().cmp(other.folded())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T>(parse: fn(&str) -> Result<T, BadName>, good: &[&str], bad: &[&str]) {
        for text in good {
            assert!(parse(text).is_ok(), "{text:?} should be taken");
        }
        for text in bad {
            assert!(parse(text).is_err(), "{text:?} should be refused");
        }
    }

    #[test]
    fn github_names_ignore_case() {
        let name = |text| GithubName::parse(text).unwrap();
        assert_eq!(name("Octocat"), name("octoCAT"));
        assert!(name("octo-cat") != name("octocat") && name("Ab") < name("ac"));
        assert_eq!(name("Octocat").as_str(), "Octocat", "it is shown as it was given");
    }

    #[test]
    fn forms() {
        let long = "a".repeat(256);
        check(
            GithubName::parse,
            &["a", "jeanschmidt", "a-b-c", &long[..39]],
            &["", "-a", "a-", "a--b", "a b", "a/b", "../x", "a.b", "é", &long[..40]],
        );
        check(
            EnvName::parse,
            &["A", "_", "WANDB_API_KEY", "a1"],
            &["", "1A", "A-B", "A=B", "A B", "LD_PRELOAD", "SLIPWAY_X", "É", &long],
        );
        check(
            ImageName::parse,
            &["pytorch/pytorch:2.1.0-cuda12.1-cudnn8-runtime", "a", "r.io:5000/a/b@sha256:00"],
            &["", "/a", "a//b", "../a", "a/../b", "a b", "a;b", "$(id)", "a\n", &long],
        );
        check(
            DiskName::parse,
            &["a", "-", "My_data-2", &long[..63]],
            &["", "a.b", "a b", "é", "a/b", "a\n", &long[..64]],
        );
        check(TenantName::parse, &["a", "PRO Customer Inc", "Ünï"], &["", " ", "a\n", &long]);
        check(Label::parse, &["AWS Production"], &["", "\t", &long]);
        check(
            Email::parse,
            &["test@example.com", "a.b+c@x", "o'neil@mail.example.org"],
            &["", "a", "@b", "a@", "a@b@c", "a b@c", "a@b..c", "a@-b", "a\n@b", "a,b@c", &format!("{long}@b")],
        );
        check(JobName::parse, &["a", "training-run", "v1.2_b"], &["", "-a", ".a", "a b", "a/b", "a\n", &long[..64]]);
    }

    #[test]
    fn forms_of_what_is_about_models() {
        let long = "a".repeat(256);
        check(
            ModelName::parse,
            &["gpt2", "meta-llama/Llama-3.1-8B-Instruct", "a/b", "0x.y_z", &long[..128]],
            &[
                "",
                "/",
                "a/",
                "/a",
                "a//b",
                "a/b/c",
                "..",
                "a/..",
                "./a",
                "-a",
                "a/-b",
                "a b",
                "a:b",
                "a\n",
                "é",
                &long[..129],
            ],
        );
        check(
            RegionName::parse,
            &["us-west-2", "eastus", "europe-west4", &long[..40]],
            &["", "-a", "2a", "a-", "US", "a.b", "a/b", "a b", &long[..41]],
        );
        check(ModelWord::parse, &["llama", "8B", "8x7B", "1.5B"], &["", "-a", "a b", "a/b"]);
    }
}
