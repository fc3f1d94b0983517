//! Who a node is, as its certificate says it: one URI among the subject alternative names (RFC 5280
//! section 4.2.1.6),
//!
//! ```text
//! sterna://CLUSTER/NAME?roles=edge,core
//! ```
//!
//! A name of a host would say where a node is, and that changes; and a certificate for a web server
//! must not make anybody a node.

use sterna_core::link::serve::Speaker;
use sterna_proto::NodeId;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// A node of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeIdentity {
    pub cluster: String,
    pub name: NodeId,
    pub edge: bool,
    pub core: bool,
}

/// Why a certificate makes nobody a node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    #[error("it is no X.509 certificate")]
    Malformed,
    #[error(
        "it names no node: a URI sterna://CLUSTER/NAME?roles=… is missing among its alternative \
         names; `sterna certificate node` makes one"
    )]
    NoNode,
    #[error("it names more than one node")]
    SeveralNodes,
    #[error("`{0}` is not sterna://CLUSTER/NAME?roles=edge,core")]
    Form(String),
}

const SCHEME: &str = "sterna://";

impl NodeIdentity {
    /// The URI of this identity.
    pub fn to_uri(&self) -> String {
        let roles = [(self.edge, "edge"), (self.core, "core")];
        let roles: Vec<&str> =
            roles.into_iter().filter(|(has, _)| *has).map(|(_, role)| role).collect();
        format!("{SCHEME}{}/{}?roles={}", self.cluster, self.name, roles.join(","))
    }

    /// The node, as it speaks on a lane of rosters.
    pub(crate) fn speaker(&self) -> Speaker {
        Speaker { name: self.name.clone(), edge: self.edge, core: self.core }
    }

    /// Reads such a URI.
    pub fn from_uri(uri: &str) -> Result<Self, IdentityError> {
        let form = || IdentityError::Form(uri.to_owned());
        let rest = uri.strip_prefix(SCHEME).ok_or_else(form)?;
        let (place, roles) = rest.split_once("?roles=").ok_or_else(form)?;
        let (cluster, name) = place.split_once('/').ok_or_else(form)?;
        // Both are names of the same kind.
        NodeId::new(cluster).map_err(|_| form())?;
        let name = NodeId::new(name).map_err(|_| form())?;
        let (mut edge, mut core) = (false, false);
        for role in roles.split(',') {
            match role {
                "edge" => edge = true,
                "core" => core = true,
                _ => return Err(form()),
            }
        }
        Ok(Self { cluster: cluster.to_owned(), name, edge, core })
    }

    /// The node that a certificate (DER) is for.
    pub fn from_certificate(certificate: &[u8]) -> Result<Self, IdentityError> {
        let (_, certificate) =
            X509Certificate::from_der(certificate).map_err(|_| IdentityError::Malformed)?;
        let names = certificate.subject_alternative_name().map_err(|_| IdentityError::Malformed)?;
        let names = names.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
        let mut uris = names.iter().filter_map(|name| match name {
            GeneralName::URI(uri) if uri.starts_with(SCHEME) => Some(*uri),
            _ => None,
        });
        let uri = uris.next().ok_or(IdentityError::NoNode)?;
        if uris.next().is_some() {
            return Err(IdentityError::SeveralNodes);
        }
        Self::from_uri(uri)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_its_uri() {
        for uri in ["sterna://chat/edge-1?roles=edge", "sterna://chat/n.1?roles=edge,core"] {
            assert_eq!(NodeIdentity::from_uri(uri).unwrap().to_uri(), uri);
        }
        let bad = [
            "https://chat/edge-1?roles=edge",
            "sterna://chat?roles=edge",
            "sterna://chat/edge 1?roles=edge",
            "sterna://chat/edge-1",
            "sterna://chat/edge-1?roles=",
            "sterna://chat/edge-1?roles=admin",
            "sterna:///edge-1?roles=edge",
        ];
        for uri in bad {
            assert!(NodeIdentity::from_uri(uri).is_err(), "{uri}");
        }
    }

    #[test]
    fn a_certificate_names_one_node() {
        let made = |uris: &[&str]| {
            let mut params = rcgen::CertificateParams::new(vec!["host".to_owned()]).unwrap();
            params
                .subject_alt_names
                .extend(uris.iter().map(|uri| rcgen::SanType::URI((*uri).try_into().unwrap())));
            let key = rcgen::KeyPair::generate().unwrap();
            NodeIdentity::from_certificate(params.self_signed(&key).unwrap().der())
        };
        let uri = "sterna://chat/core-1?roles=core";
        assert_eq!(made(&[uri]).unwrap().name.as_str(), "core-1");
        assert_eq!(made(&["https://example.com"]), Err(IdentityError::NoNode));
        assert_eq!(made(&[uri, uri]), Err(IdentityError::SeveralNodes));
        assert_eq!(NodeIdentity::from_certificate(b"nonsense"), Err(IdentityError::Malformed));
    }
}
