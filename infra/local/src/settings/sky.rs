//! What the reference's installations are told about their provisioner (checklist 000#2), and what becomes of it here.

use domain::Secret;

use super::{BadSetting, Reader, base_url, long_secret};

/// Whether machines are to come from another program.
const USE: &str = "SKYPILOT_USE_API_SERVER";
/// Where it is.
const URL: &str = "SKYPILOT_API_SERVER_URL";
/// What operators' tools say when they look at clusters.
const TOKEN: &str = "SKYPILOT_SERVICE_ACCOUNT_TOKEN";

/// The provisioner's settings.
#[derive(Clone, Debug)]
pub struct Sky {
    /// The API server that machines are to come from, where `SKYPILOT_USE_API_SERVER` says so: no such fleet is built in yet.
    pub api_server: Option<String>,
    /// `SKYPILOT_SERVICE_ACCOUNT_TOKEN`: what opens the list of clusters; without it nothing does.
    pub service_token: Option<Secret>,
}

impl Sky {
    pub(super) fn read<F: Fn(&'static str) -> Option<String>>(from: &Reader<F>) -> Result<Self, BadSetting> {
        let wanted = from.parsed(USE, false, "it must be true or false")?;
        let url = from.text(URL).map(|_| from.read(URL, "", base_url)).transpose()?;
        if wanted && url.is_none() {
            let right = "SKYPILOT_USE_API_SERVER is true, so say where it is, as in http://skypilot-api:46580";
            return Err(BadSetting::other(URL, "is unset", right));
        }
        Ok(Self { api_server: url.filter(|_| wanted), service_token: long_secret(TOKEN, from.text(TOKEN))? })
    }

    /// What is to be said of it at the start, if anything.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let url = self.api_server.as_ref()?;
        Some(format!(
            "{USE} is true, but no fleet of an API server is built in yet: {url} is never asked, and every machine comes from this \
             installation's own nodes"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(set: &[(&str, &str)], expected: Result<Option<&str>, &str>) {
        let lookup = |name: &'static str| set.iter().find(|(of, _)| *of == name).map(|(_, value)| (*value).to_owned());
        let told = Sky::read(&Reader { lookup }).map_err(|error| error.to_string());
        match (told, expected) {
            (Ok(sky), Ok(url)) => {
                assert_eq!(sky.api_server.as_deref(), url, "{set:?}");
                assert_eq!(sky.warning().is_some(), url.is_some(), "{set:?}");
            }
            (Err(words), Err(part)) => assert!(words.contains(part), "{words} should say {part}"),
            (told, expected) => panic!("{set:?}: {told:?}, and not {expected:?}"),
        }
    }

    #[test]
    fn provisioners() {
        let url = (URL, "http://skypilot-api:46580");
        check(&[], Ok(None));
        check(&[url], Ok(None));
        check(&[(USE, "false"), url], Ok(None));
        check(&[(USE, "true"), url], Ok(Some("http://skypilot-api:46580")));
        check(&[(USE, "true")], Err(URL));
        check(&[(USE, "yes"), url], Err(USE));
        check(&[(URL, "skypilot-api:46580")], Err(URL));
        check(&[(TOKEN, "short")], Err("32"));
        check(&[(TOKEN, "your_secure_token_here_minimum_32_chars")], Ok(None));
    }
}
