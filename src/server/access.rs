//! Who is answered, and what they may ask for.

use crate::config::{Config, Token};
use crate::error::{Error, Result};
use crate::tls::Tls;

/// What whoever asks may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Look: jobs, metrics, rows.
    Read,
    /// Submit and stop jobs, and be a process of the cluster.
    Change,
}

/// What is asked for, and what we show to others.
#[derive(Clone, Default)]
pub struct Access {
    token: Option<Token>,
    read_token: Option<Token>,
    tls: Option<Tls>,
}

impl Access {
    /// As the settings say.
    pub fn of(config: &Config) -> Result<Access> {
        let tls = config.tls.value.as_ref().map(Tls::load).transpose()?;
        let access = Access { token: config.token.value.clone(), read_token: config.read_token.value.clone(), tls };
        Ok(access)
    }

    /// How connections are encrypted, where they are.
    pub fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// The token to show.
    pub fn shown(&self) -> Option<&Token> {
        self.token.as_ref().or(self.read_token.as_ref())
    }

    /// Refuses settings by which somebody beyond this machine could ask without showing anything, or by which a token
    /// to look with would mean nothing because all may do all.
    pub fn check(&self, beyond: Option<&str>) -> Result<()> {
        let open = self.is_open();
        if let Some(address) = beyond.filter(|_| open) {
            return Err(Error::Usage(format!(
                "{address} can be reached from other machines, which needs a token: set TAPEFLOW_TOKEN, or \
                 `token_file` in tapeflow.toml (make one with `openssl rand -hex 32`), or certificates"
            )));
        }
        if open && self.read_token.is_some() {
            return Err(Error::Usage(
                "a token to look with needs another one to change with: `token_file`".to_string(),
            ));
        }
        Ok(())
    }

    /// Whether nobody has to show anything: then only this machine is answered.
    pub fn is_open(&self) -> bool {
        self.token.is_none() && self.tls.is_none()
    }

    /// What somebody may do who shows the token `given`, or a certificate that lets him do what `certified` says.
    pub fn role(&self, given: Option<&str>, certified: Option<Role>) -> Option<Role> {
        let shows = |token: &Option<Token>| token.as_ref().zip(given).is_some_and(|(token, given)| token.is(given));
        match () {
            () if self.is_open() || shows(&self.token) => Some(Role::Change),
            () if shows(&self.read_token) => certified.max(Some(Role::Read)),
            () => certified,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(variables: &[(&str, &str)]) -> Access {
        let variable =
            |name: &str| variables.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_string());
        Access::of(&Config::read("t".as_ref(), "", &Vec::new(), &variable).expect("settings")).expect("access")
    }

    #[test]
    fn a_token_says_what_its_owner_may_do() {
        let (change, read) = ("a-token-to-change-with", "a-token-to-look-with");
        let both = access(&[("TAPEFLOW_TOKEN", change), ("TAPEFLOW_READ_TOKEN", read)]);
        assert_eq!(both.role(Some(change), None), Some(Role::Change));
        assert_eq!(both.role(Some(read), None), Some(Role::Read));
        assert_eq!(both.role(Some(read), Some(Role::Change)), Some(Role::Change));
        assert_eq!((both.role(Some("another"), None), both.role(None, None)), (None, None));
        assert_eq!(both.role(None, Some(Role::Read)), Some(Role::Read));
        assert_eq!(access(&[]).role(None, None), Some(Role::Change));
    }

    #[test]
    fn what_everybody_could_do_is_refused() {
        assert!(access(&[]).check(None).is_ok() && access(&[]).check(Some("0.0.0.0:7070")).is_err());
        assert!(access(&[("TAPEFLOW_READ_TOKEN", "a-token-to-look-with")]).check(None).is_err());
        assert!(access(&[("TAPEFLOW_TOKEN", "a-token-to-change-with")]).check(Some("0.0.0.0:7070")).is_ok());
    }
}
