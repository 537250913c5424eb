//! Certificates and private keys out of PEM files, with errors that give nothing of a key away.
//!
//! The reader's own errors quote the line that they stumble over, and in a key whose line breaks were lost that line
//! is the key; a key may also stand in the file of its certificate. Our errors go to logs and answers.

use std::path::Path;

use rustls::pki_types::pem::{Error, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Reads all certificates of a file, at least one.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(unquoted)?;
    if found.is_empty() {
        return Err(unquoted(Error::NoItemsFound));
    }
    Ok(found)
}

/// Reads the first private key of a file.
pub(crate) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_file(path).map_err(unquoted)
}

fn unquoted(why: Error) -> String {
    match why {
        Error::Io(why) => why.to_string(),
        Error::NoItemsFound => "there is none".to_owned(),
        _ => "the file is not whole PEM (are its line breaks there?)".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_quotes_nothing_of_the_key() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("us.key");
        let whole = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let secret = whole.lines().nth(1).unwrap().to_owned();
        let cut = whole.split_at(whole.len() / 2).0.to_owned();
        let flat = whole.replace('\n', "");
        let escaped = whole.replace('\n', "\\n");
        for broken in [cut, flat, escaped, whole.replace("-----END", "-----OOPS")] {
            std::fs::write(&path, &broken).unwrap();
            let whys = [private_key(&path).err(), certificates(&path).err()];
            let why = whys.map(|why| why.expect("neither is there")).concat();
            let bytes = format!("{:?}", &secret.as_bytes()[..16]);
            let quoted =
                why.contains(&secret[..16]) || why.contains(bytes.trim_matches(['[', ']']));
            assert!(!quoted, "{why}");
        }
        std::fs::write(&path, &whole).unwrap();
        assert!(private_key(&path).is_ok());
        let why = private_key(&directory.path().join("none")).unwrap_err();
        assert!(why.contains("No such file"), "{why}");
    }
}
