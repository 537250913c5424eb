//! Who we are: the fields of CONNECT that answer a server's nonce, from a password, a token, a seed or a file.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use serde::Serialize;

use super::options::Auth;

/// The fields of CONNECT that prove who we are.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Proof {
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pass: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nkey: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jwt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sig: Option<String>,
}

/// Proves to a server that sent `nonce`. An error says, for a person, which secret is unusable.
pub(super) fn prove(auth: &Auth, nonce: &str) -> Result<Proof, String> {
    Ok(match auth {
        Auth::None => Proof::default(),
        Auth::Password { user, password } => Proof {
            user: Some(user.clone()),
            pass: Some(password.clone()),
            ..Proof::default()
        },
        Auth::Token(token) => Proof {
            auth_token: Some(token.clone()),
            ..Proof::default()
        },
        Auth::NkeySeed(seed) => {
            let (public, signature) = sign(seed, nonce.as_bytes())?;
            Proof {
                nkey: Some(public),
                sig: Some(URL_SAFE_NO_PAD.encode(signature)),
                ..Proof::default()
            }
        }
        Auth::CredsFile(path) => {
            let (jwt, signature) = prove_with_creds(path, nonce.as_bytes())?;
            Proof {
                jwt: Some(jwt),
                sig: Some(URL_SAFE_NO_PAD.encode(signature)),
                ..Proof::default()
            }
        }
    })
}

/// The user's JWT in a `.creds` file, and the signature of `nonce` with its seed. An error says, for a person, what of
/// the file is unusable.
pub fn prove_with_creds(path: &Path, nonce: &[u8]) -> Result<(String, Vec<u8>), String> {
    let (jwt, seed) = read_creds(path)?;
    let (_, signature) = sign(&seed, nonce)?;
    Ok((jwt, signature))
}

/// Public key and signature of `nonce`.
fn sign(seed: &str, nonce: &[u8]) -> Result<(String, Vec<u8>), String> {
    let unusable = |error| format!("the nkey seed cannot be used: {error}");
    let pair = KeyPair::from_seed(seed.trim()).map_err(unusable)?;
    let signature = pair.sign(nonce).map_err(unusable)?;
    Ok((pair.public_key(), signature))
}

fn read_creds(path: &Path) -> Result<(String, String), String> {
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let section = |name: &str| {
        section(&text, name).ok_or_else(|| format!("{}: holds no {name}", path.display()))
    };
    Ok((
        section("USER JWT")?.to_owned(),
        section("USER NKEY SEED")?.to_owned(),
    ))
}

/// The line behind `-----BEGIN ... name-----`.
fn section<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = text.lines().map(str::trim);
    lines.find(|line| line.starts_with("---") && line.contains("BEGIN") && line.contains(name))?;
    lines
        .find(|line| !line.is_empty())
        .filter(|line| !line.starts_with('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn creds_are_read_and_sign_the_nonce() {
        let pair = KeyPair::new_user();
        let seed = pair.seed().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("user.creds");
        let text = format!(
            "-----BEGIN NATS USER JWT-----\njw.t\n------END NATS USER JWT------\n\nwords\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        );
        std::fs::write(&path, text).unwrap();
        let proof = prove(&Auth::CredsFile(path.clone()), "nonce").unwrap();
        assert_eq!(proof.jwt.as_deref(), Some("jw.t"));
        let signature = URL_SAFE_NO_PAD.decode(proof.sig.unwrap()).unwrap();
        pair.verify(b"nonce", &signature).unwrap();

        std::fs::write(&path, "nothing").unwrap();
        let error = prove(&Auth::CredsFile(path), "nonce").unwrap_err();
        assert!(error.ends_with("user.creds: holds no USER JWT"), "{error}");
    }
}
