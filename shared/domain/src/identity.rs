//! Who is asking, and who may log in.

use serde::{Deserialize, Serialize};

use crate::{TenantId, Timestamp, UserName};

/// Somebody with a user key: what a request on behalf of a person is allowed by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The tenant, which comes from the key alone.
    pub tenant: TenantId,
    /// The person.
    pub user: UserName,
    /// The person's number, given out at the first login (checklist K27).
    pub user_id: u64,
    /// When the key ends. At that very instant it is refused (invariant I16).
    pub expires_at: Timestamp,
}

/// Whoever STS says that a set of AWS credentials belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AwsCaller {
    /// The account's twelve digits.
    pub account: String,
    /// The caller's ARN.
    pub arn: String,
}

/// An assumed role, as its ARN says: `arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssumedRole<'a> {
    /// The account's twelve digits.
    pub account: &'a str,
    /// The role's name, without a path: STS leaves it out.
    pub role: &'a str,
    /// The session's name, which whoever assumed the role may have chosen.
    pub session: &'a str,
}

impl<'a> AssumedRole<'a> {
    /// Reads the ARN of an assumed role, in any of AWS's partitions; `None` for users, federated users and roots.
    #[must_use]
    pub fn parse(arn: &'a str) -> Option<Self> {
        let mut parts = arn.splitn(6, ':');
        let (scheme, partition, service) = (parts.next()?, parts.next()?, parts.next()?);
        let (region, account, resource) = (parts.next()?, parts.next()?, parts.next()?);
        let in_sts = scheme == "arn" && ["aws", "aws-cn", "aws-us-gov"].contains(&partition) && service == "sts";
        let numbered = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
        let (role, session) = resource.strip_prefix("assumed-role/")?.split_once('/')?;
        let named = !role.is_empty() && !session.is_empty() && !session.contains('/') && region.is_empty();
        (in_sts && numbered && named).then_some(Self { account, role, session })
    }
}

/// A role that may log in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoginRule {
    /// The account's twelve digits.
    pub account: String,
    /// The role's name.
    pub role: String,
    /// Where its people belong.
    pub tenant: TenantId,
    /// True where an identity provider names the sessions (IAM Identity Center does). Elsewhere whoever assumes the role chooses
    /// the session's name, so the role itself is the user (trap T17).
    pub sessions_are_people: bool,
}

/// Which roles may log in, and to which tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LoginTable(pub Vec<LoginRule>);

impl LoginTable {
    /// The tenant and user that `caller` logs in as; `None` when no rule admits it.
    #[must_use]
    pub fn admit(&self, caller: &AwsCaller) -> Option<(TenantId, UserName)> {
        let assumed = AssumedRole::parse(&caller.arn)?;
        let admits = |rule: &&LoginRule| {
            rule.account == assumed.account && rule.account == caller.account && rule.role == assumed.role
        };
        let rule = self.0.iter().find(admits)?;
        let user = if rule.sessions_are_people { assumed.session } else { assumed.role };
        Some((rule.tenant.clone(), UserName::new(user)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(arn: &str, expected: Option<(&str, &str)>) {
        let rule = |account: &str, role: &str, tenant: &str, sessions_are_people| LoginRule {
            account: account.into(),
            role: role.into(),
            tenant: TenantId::new(tenant),
            sessions_are_people,
        };
        let table = LoginTable(vec![
            rule("308535385114", "SSOCloudDevGpuReservation", "research", true),
            rule("308535385114", "Builder", "build", false),
        ]);
        let account = arn.split(':').nth(4).unwrap_or_default().to_owned();
        let admitted = table.admit(&AwsCaller { account, arn: arn.into() });
        let expected = expected.map(|(tenant, user)| (TenantId::new(tenant), UserName::new(user)));
        assert_eq!(admitted, expected, "{arn}");
    }

    #[test]
    fn rules_admit_roles() {
        let sso = "arn:aws:sts::308535385114:assumed-role/SSOCloudDevGpuReservation";
        check(&format!("{sso}/jschmidt"), Some(("research", "jschmidt")));
        check(&format!("{sso}/jschmidt@meta.com"), Some(("research", "jschmidt@meta.com")));
        // T17: nobody becomes somebody else by choosing a session's name.
        check("arn:aws:sts::308535385114:assumed-role/Builder/jschmidt", Some(("build", "Builder")));
        check("arn:aws:sts::308535385115:assumed-role/Builder/x", None);
        check("arn:aws:sts::308535385114:assumed-role/builder/x", None);
        check("arn:aws:iam::308535385114:user/jschmidt", None);
        check("arn:aws:sts::308535385114:federated-user/jschmidt", None);
        for arn in [
            "",
            "arn",
            &format!("{sso}/"),
            &format!("{sso}/a/b"),
            sso,
            "arn:aws:sts:us-east-1:308535385114:assumed-role/Builder/x",
        ] {
            check(arn, None);
        }
    }
}
