//! The fields of a request (RFC 9114, section 4.3), checked once, so that nobody behind this has to
//! wonder which of two paths counts. Pure.

use super::qpack::Field;

/// A well-formed request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Without its query.
    pub(crate) path: String,
    /// Of an extended CONNECT (RFC 9220).
    pub(crate) protocol: Option<String>,
    /// Names in lower case, with their values as they came.
    fields: Vec<Field>,
}

impl Request {
    /// `None`: malformed. A request without `:path` is a CONNECT without `:protocol`, whose path is
    /// empty here.
    pub(super) fn from_fields(fields: Vec<Field>) -> Option<Self> {
        let first_plain = fields.iter().position(|(name, _)| !name.starts_with(b":"));
        let (pseudo, plain) = fields.split_at(first_plain.unwrap_or(fields.len()));
        let mut known = PSEUDO.map(|_| None);
        for (name, value) in pseudo {
            let at = PSEUDO.iter().position(|known| known.as_bytes() == &**name)?;
            let value = std::str::from_utf8(value).ok().filter(|it| is_printable(it.as_bytes()))?;
            if known[at].replace(value.to_owned()).is_some() {
                return None;
            }
        }
        if !plain.iter().all(is_well_formed) {
            return None;
        }
        let [method, scheme, authority, path, protocol] = known;
        let method = method.filter(|it| !it.is_empty())?;
        authority.filter(|it| !it.is_empty())?;
        // A tunnel to another host (RFC 9110, section 9.3.6) has neither.
        let is_tunnel = method == "CONNECT" && protocol.is_none();
        if (scheme.is_some(), path.is_some()) != (!is_tunnel, !is_tunnel) {
            return None;
        }
        let path = path.unwrap_or_default();
        let path = path.split_once('?').map_or(path.as_str(), |(path, _)| path).to_owned();
        let plain = plain.len();
        let fields = fields.into_iter().rev().take(plain).rev().collect();
        Some(Self { method, path, protocol, fields })
    }

    /// All values of a field, in their order.
    pub(crate) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let fields = self.fields.iter();
        fields
            .filter(move |(known, _)| known.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, it)| &**it)
    }
}

const PSEUDO: [&str; 5] = [":method", ":scheme", ":authority", ":path", ":protocol"];

/// Lower case, no further pseudo-field, nothing that belongs to one connection of HTTP/1, and no
/// octet that ends a line where somebody writes it into one.
fn is_well_formed((name, value): &Field) -> bool {
    let is_token = |octet: &u8| {
        matches!(octet, b'a'..=b'z' | b'0'..=b'9') || b"!#$%&'*+-.^_`|~".contains(octet)
    };
    let name_is_good = !name.is_empty() && name.iter().all(is_token);
    let of_connection = OF_CONNECTION.iter().any(|it| it.as_bytes() == &**name);
    let value_is_good = !value.iter().any(|octet| matches!(octet, 0 | b'\r' | b'\n'));
    name_is_good && !of_connection && value_is_good
}

const OF_CONNECTION: [&str; 5] =
    ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];

fn is_printable(value: &[u8]) -> bool {
    value.iter().all(|octet| matches!(octet, b'!'..=b'~'))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::http3) fn request(fields: &[(&str, &str)]) -> Option<Request> {
        let own = |text: &str| text.as_bytes().to_vec().into();
        Request::from_fields(fields.iter().map(|(name, value)| (own(name), own(value))).collect())
    }

    const GET: [(&str, &str); 4] =
        [(":method", "GET"), (":scheme", "https"), (":authority", "x"), (":path", "/a?b=c")];

    fn with(change: &[(&'static str, &'static str)]) -> Option<Request> {
        request(&[&GET, change].concat())
    }

    #[test]
    fn a_request_has_its_path_without_the_query_and_its_fields_in_order() {
        let request = with(&[("origin", "a"), ("x", ""), ("origin", "b")]).unwrap();
        assert_eq!((request.method.as_str(), request.path.as_str()), ("GET", "/a"));
        assert_eq!(request.values("Origin").collect::<Vec<_>>(), [b"a", b"b"]);
        assert_eq!(request.values("y").count(), 0);
    }

    #[test]
    fn what_could_mean_two_things_is_malformed() {
        for change in [
            // Twice, unknown, behind other fields.
            (":path", "/other"),
            (":status", "200"),
            ("Origin", "https://upper.example"),
            ("connection", "close"),
            ("transfer-encoding", "chunked"),
            ("x", "a\r\nb"),
            ("x", "a\0"),
            ("", "empty"),
            ("a b", "c"),
        ] {
            assert_eq!(with(&[change]), None, "{change:?}");
        }
        assert_eq!(with(&[("x", "y"), (":protocol", "webtransport")]), None, "behind others");
        for (missing, _) in GET {
            let fields: Vec<_> = GET.into_iter().filter(|(name, _)| *name != missing).collect();
            assert_eq!(request(&fields), None, "without {missing}");
        }
        assert_eq!(request(&[]), None);
        let mut fields = GET;
        fields[3].1 = "/with space";
        assert_eq!(request(&fields), None);
    }

    #[test]
    fn a_tunnel_has_neither_scheme_nor_path() {
        let tunnel = request(&[(":method", "CONNECT"), (":authority", "x:1")]).unwrap();
        assert_eq!((tunnel.path.as_str(), tunnel.protocol), ("", None));
        let fields = [(":method", "CONNECT"), (":authority", "x:1"), (":path", "/")];
        assert_eq!(request(&fields), None);
    }
}
