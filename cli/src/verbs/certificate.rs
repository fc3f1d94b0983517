//! `sterna certificate`: an authority for the links of a cluster, and certificates of its nodes. For
//! those who have no authority of their own; any other makes the same certificates.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use serde_json::json;
use sterna_link::NodeIdentity;

use crate::args::{AuthorityArgs, CertificateArgs, CertificateOf, NodeCertificateArgs};
use crate::{keys, output};

const DAY: u64 = 86_400;

/// Files of the authority, in its directory.
const AUTHORITY: &str = "authority.pem";
const AUTHORITY_KEY: &str = "authority.key";

pub(crate) fn run(args: &CertificateArgs) -> Result<ExitCode> {
    let made = match &args.of {
        CertificateOf::Authority(authority) => make_authority(authority)?,
        CertificateOf::Node(node) => make_node(node)?,
    };
    match args.json {
        true => output::line(&json!({ "certificate": made.0, "private_key": made.1 }).to_string())?,
        false => output::line(&format!("{} and {}", made.0.display(), made.1.display()))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// A certificate and its key.
pub(crate) type Made = (PathBuf, PathBuf);

/// Makes an authority where none is.
pub(crate) fn make_authority(args: &AuthorityArgs) -> Result<Made> {
    let (certificate, key_file) = (args.dir.join(AUTHORITY), args.dir.join(AUTHORITY_KEY));
    if certificate.exists() || key_file.exists() {
        bail!("there is an authority in {}; nodes trust it", args.dir.display());
    }
    std::fs::create_dir_all(&args.dir)
        .with_context(|| format!("cannot make {}", args.dir.display()))?;
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.distinguished_name.push(DnType::CommonName, "Sterna cluster authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    keys::set_life(&mut params, Duration::from_secs(args.days * DAY));
    let key = KeyPair::generate()?;
    write(&certificate, &key_file, &params.self_signed(&key)?.pem(), &key)
}

/// Makes the certificate of a node with the authority that is there.
pub(crate) fn make_node(args: &NodeCertificateArgs) -> Result<Made> {
    let authority = std::fs::read_to_string(args.dir.join(AUTHORITY)).with_context(|| {
        let dir = args.dir.display();
        format!("no authority in {dir}; make one with `sterna certificate authority --dir {dir}`")
    })?;
    let key = keys::read_secret(&args.dir.join(AUTHORITY_KEY)).map_err(anyhow::Error::msg)?;
    let issuer = Issuer::from_ca_cert_pem(&authority, KeyPair::from_pem(&key)?)?;
    let roles = |role: &str| args.roles.iter().any(|it| it == role);
    let identity = NodeIdentity {
        cluster: args.cluster.to_string(),
        name: args.name.clone(),
        edge: roles("edge"),
        core: roles("core"),
    };
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.distinguished_name.push(DnType::CommonName, args.name.as_str());
    params.subject_alt_names = vec![SanType::URI(identity.to_uri().try_into()?)];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // A node answers and dials.
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    keys::set_life(&mut params, Duration::from_secs(args.days * DAY));
    let key = KeyPair::generate()?;
    let out = args.out.as_ref().unwrap_or(&args.dir);
    std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let certificate = out.join(format!("{}.pem", args.name));
    let key_file = out.join(format!("{}.key", args.name));
    write(&certificate, &key_file, &params.signed_by(&key, &issuer)?.pem(), &key)
}

fn write(certificate: &Path, key_file: &Path, pem: &str, key: &KeyPair) -> Result<Made> {
    keys::replace(key_file, &key.serialize_pem(), 0o600)?;
    keys::replace(certificate, pem, 0o644)?;
    Ok((certificate.to_owned(), key_file.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sterna_proto::NodeId;

    #[test]
    fn a_node_certificate_says_who_the_node_is() {
        let directory = tempfile::tempdir().unwrap();
        let authority = AuthorityArgs { dir: directory.path().to_owned(), days: 10 };
        make_authority(&authority).unwrap();
        assert!(make_authority(&authority).is_err(), "nodes trust the one that is there");
        let node = NodeCertificateArgs {
            dir: directory.path().to_owned(),
            cluster: NodeId::new("chat").unwrap(),
            name: NodeId::new("core-1").unwrap(),
            roles: vec!["core".into()],
            days: 5,
            out: None,
        };
        let (certificate, key) = make_node(&node).unwrap();
        keys::check_pair(&certificate, &key).unwrap();
        let chain = keys::read_chain(&certificate).unwrap();
        let identity = NodeIdentity::from_certificate(&chain[0]).unwrap();
        assert_eq!(identity.to_uri(), "sterna://chat/core-1?roles=core");
    }
}
