impl serde::Serialize for Ack {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.channel.is_empty() {
            len += 1;
        }
        if self.offset != 0 {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("sterna.v1.Ack", len)?;
        if !self.channel.is_empty() {
            struct_ser.serialize_field("channel", &self.channel)?;
        }
        if self.offset != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("offset", ToString::to_string(&self.offset).as_str())?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for Ack {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "channel",
            "offset",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Channel,
            Offset,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "channel" => Ok(GeneratedField::Channel),
                            "offset" => Ok(GeneratedField::Offset),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = Ack;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct sterna.v1.Ack")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<Ack, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut channel__ = None;
                let mut offset__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Channel => {
                            if channel__.is_some() {
                                return Err(serde::de::Error::duplicate_field("channel"));
                            }
                            channel__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Offset => {
                            if offset__.is_some() {
                                return Err(serde::de::Error::duplicate_field("offset"));
                            }
                            offset__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                    }
                }
                Ok(Ack {
                    channel: channel__.unwrap_or_default(),
                    offset: offset__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("sterna.v1.Ack", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for Activity {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        let variant = match self {
            Self::Active => "ACTIVITY_ACTIVE",
            Self::Foreground => "ACTIVITY_FOREGROUND",
            Self::Background => "ACTIVITY_BACKGROUND",
        };
        serializer.serialize_str(variant)
    }
}
impl<'de> serde::Deserialize<'de> for Activity {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "ACTIVITY_ACTIVE",
            "ACTIVITY_FOREGROUND",
            "ACTIVITY_BACKGROUND",
        ];

        struct GeneratedVisitor;

        impl serde::de::Visitor<'_> for GeneratedVisitor {
            type Value = Activity;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(formatter, "expected one of: {:?}", &FIELDS)
            }

            fn visit_i64<E>(self, v: i64) -> std::result::Result<Self::Value, E>
            where
                E: serde::de::Error,
            {
                i32::try_from(v)
                    .ok()
                    .and_then(|x| x.try_into().ok())
                    .ok_or_else(|| {
                        serde::de::Error::invalid_value(serde::de::Unexpected::Signed(v), &self)
                    })
            }

            fn visit_u64<E>(self, v: u64) -> std::result::Result<Self::Value, E>
            where
                E: serde::de::Error,
            {
                i32::try_from(v)
                    .ok()
                    .and_then(|x| x.try_into().ok())
                    .ok_or_else(|| {
                        serde::de::Error::invalid_value(serde::de::Unexpected::Unsigned(v), &self)
                    })
            }

            fn visit_str<E>(self, value: &str) -> std::result::Result<Self::Value, E>
            where
                E: serde::de::Error,
            {
                match value {
                    "ACTIVITY_ACTIVE" => Ok(Activity::Active),
                    "ACTIVITY_FOREGROUND" => Ok(Activity::Foreground),
                    "ACTIVITY_BACKGROUND" => Ok(Activity::Background),
                    _ => Err(serde::de::Error::unknown_variant(value, FIELDS)),
                }
            }
        }
        deserializer.deserialize_any(GeneratedVisitor)
    }
}
impl serde::Serialize for ChangeInbox {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.channel.is_empty() {
            len += 1;
        }
        if self.muted.is_some() {
            len += 1;
        }
        if self.pinned.is_some() {
            len += 1;
        }
        if self.deleted_before != 0 {
            len += 1;
        }
        if self.remove {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("sterna.v1.ChangeInbox", len)?;
        if !self.channel.is_empty() {
            struct_ser.serialize_field("channel", &self.channel)?;
        }
        if let Some(v) = self.muted.as_ref() {
            struct_ser.serialize_field("muted", v)?;
        }
        if let Some(v) = self.pinned.as_ref() {
            struct_ser.serialize_field("pinned", v)?;
        }
        if self.deleted_before != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("deletedBefore", ToString::to_string(&self.deleted_before).as_str())?;
        }
        if self.remove {
            struct_ser.serialize_field("remove", &self.remove)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for ChangeInbox {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "channel",
            "muted",
            "pinned",
            "deleted_before",
            "deletedBefore",
            "remove",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Channel,
            Muted,
            Pinned,
            DeletedBefore,
            Remove,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "channel" => Ok(GeneratedField::Channel),
                            "muted" => Ok(GeneratedField::Muted),
                            "pinned" => Ok(GeneratedField::Pinned),
                            "deletedBefore" | "deleted_before" => Ok(GeneratedField::DeletedBefore),
                            "remove" => Ok(GeneratedField::Remove),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = ChangeInbox;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct sterna.v1.ChangeInbox")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<ChangeInbox, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut channel__ = None;
                let mut muted__ = None;
                let mut pinned__ = None;
                let mut deleted_before__ = None;
                let mut remove__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Channel => {
                            if channel__.is_some() {
                                return Err(serde::de::Error::duplicate_field("channel"));
                            }
                            channel__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Muted => {
                            if muted__.is_some() {
                                return Err(serde::de::Error::duplicate_field("muted"));
                            }
                            muted__ = map_.next_value()?;
                        }
                        GeneratedField::Pinned => {
                            if pinned__.is_some() {
                                return Err(serde::de::Error::duplicate_field("pinned"));
                            }
                            pinned__ = map_.next_value()?;
                        }
                        GeneratedField::DeletedBefore => {
                            if deleted_before__.is_some() {
                                return Err(serde::de::Error::duplicate_field("deletedBefore"));
                            }
                            deleted_before__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::Remove => {
                            if remove__.is_some() {
                                return Err(serde::de::Error::duplicate_field("remove"));
                            }
                            remove__ = Some(map_.next_value()?);
                        }
                    }
                }
                Ok(ChangeInbox {
                    channel: channel__.unwrap_or_default(),
                    muted: muted__,
                    pinned: pinned__,
                    deleted_before: deleted_before__.unwrap_or_default(),
                    remove: remove__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("sterna.v1.ChangeInbox", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for ChannelAccess {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        let variant = match self {
            Self::Unspecified => "CHANNEL_ACCESS_UNSPECIFIED",
            Self::Members => "CHANNEL_ACCESS_MEMBERS",
            Self::Open => "CHANNEL_ACCESS_OPEN",
        };
        serializer.serialize_str(variant)
    }
}
impl<'de> serde::Deserialize<'de> for ChannelAccess {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "CHANNEL_ACCESS_UNSPECIFIED",
            "CHANNEL_ACCESS_MEMBERS",
            "CHANNEL_ACCESS_OPEN",
        ];

        struct GeneratedVisitor;

        impl serde::de::Visitor<'_> for GeneratedVisitor {
            type Value = ChannelAccess;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(formatter, "expected one of: {:?}", &FIELDS)
            }

            fn visit_i64<E>(self, v: i64) -> std::result::Result<Self::Value, E>
            where
                E: serde::de::Error,
            {
                i32::try_from(v)
                    .ok()
                    .and_then(|x| x.try_into().ok())
                    .ok_or_else(|| {
                        serde::de::Error::invalid_value(serde::de::Unexpected::Signed(v), &self)
                    })
            }

            fn visit_u64<E>(self, v: u64) -> std::result::Result<Self::Value, E>
            where
                E: serde::de::Error,
            {
                i32::try_from(v)
                    .ok()
                    .and_then(|x| x.try_into().ok())
                    .ok_or_else(|| {
                        serde::de::Error::invalid_value(serde::de::Unexpected::Unsigned(v), &self)
                    })
            }

            fn visit_str<E>(self, value: &str) -> std::result::Result<Self::Value, E>
            where
                E: serde::de::Error,
            {
                match value {
                    "CHANNEL_ACCESS_UNSPECIFIED" => Ok(ChannelAccess::Unspecified),
                    "CHANNEL_ACCESS_MEMBERS" => Ok(ChannelAccess::Members),
                    "CHANNEL_ACCESS_OPEN" => Ok(ChannelAccess::Open),
                    _ => Err(serde::de::Error::unknown_variant(value, FIELDS)),
                }
            }
        }
        deserializer.deserialize_any(GeneratedVisitor)
    }
}
impl serde::Serialize for ChannelInfo {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.channel.is_empty() {
            len += 1;
        }
        if self.kind != 0 {
            len += 1;
        }
        if self.access != 0 {
            len += 1;
        }
        if self.created_at_ms != 0 {
            len += 1;
        }
        if self.epoch != 0 {
            len += 1;
        }
        if self.head_offset != 0 {
            len += 1;
        }
        if self.members != 0 {
            len += 1;
        }
        if self.created {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("sterna.v1.ChannelInfo", len)?;
        if !self.channel.is_empty() {
            struct_ser.serialize_field("channel", &self.channel)?;
        }
        if self.kind != 0 {
            match ChannelKind::try_from(self.kind) {
                Ok(v) => struct_ser.serialize_field("kind", &v)?,
                Err(_) => struct_ser.serialize_field("kind", &self.kind)?,
            }
        }
        if self.access != 0 {
            match ChannelAccess::try_from(self.access) {
                Ok(v) => struct_ser.serialize_field("access", &v)?,
                Err(_) => struct_ser.serialize_field("access", &self.access)?,
            }
        }
        if self.created_at_ms != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("createdAtMs", ToString::to_string(&self.created_at_ms).as_str())?;
        }
        if self.epoch != 0 {
            struct_ser.serialize_field("epoch", &self.epoch)?;
        }
        if self.head_offset != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("headOffset", ToString::to_string(&self.head_offset).as_str())?;
        }
        if self.members != 0 {
            struct_ser.serialize_field("members", &self.members)?;
        }
        if self.created {
            struct_ser.serialize_field("created", &self.created)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for ChannelInfo {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "channel",
            "kind",
            "access",
            "created_at_ms",
            "createdAtMs",
            "epoch",
            "head_offset",
            "headOffset",
            "members",
            "created",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Channel,
            Kind,
            Access,
            CreatedAtMs,
            Epoch,
            HeadOffset,
            Members,
            Created,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "channel" => Ok(GeneratedField::Channel),
                            "kind" => Ok(GeneratedField::Kind),
                            "access" => Ok(GeneratedField::Access),
                            "createdAtMs" | "created_at_ms" => Ok(GeneratedField::CreatedAtMs),
                            "epoch" => Ok(GeneratedField::Epoch),
                            "headOffset" | "head_offset" => Ok(GeneratedField::HeadOffset),
                            "members" => Ok(GeneratedField::Members),
                            "created" => Ok(GeneratedField::Created),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = ChannelInfo;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct sterna.v1.ChannelInfo")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<ChannelInfo, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut channel__ = None;
                let mut kind__ = None;
                let mut access__ = None;
                let mut created_at_ms__ = None;
                let mut epoch__ = None;
                let mut head_offset__ = None;
                let mut members__ = None;
                let mut created__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Channel => {
                            if channel__.is_some() {
                                return Err(serde::de::Error::duplicate_field("channel"));
                            }
                            channel__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Kind => {
                            if kind__.is_some() {
                                return Err(serde::de::Error::duplicate_field("kind"));
                            }
                            kind__ = Some(map_.next_value::<ChannelKind>()? as i32);
                        }
                        GeneratedField::Access => {
                            if access__.is_some() {
                                return Err(serde::de::Error::duplicate_field("access"));
                            }
                            access__ = Some(map_.next_value::<ChannelAccess>()? as i32);
                        }
                        GeneratedField::CreatedAtMs => {
                            if created_at_ms__.is_some() {
                                return Err(serde::de::Error::duplicate_field("createdAtMs"));
                            }
                            created_at_ms__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::Epoch => {
                            if epoch__.is_some() {
                                return Err(serde::de::Error::duplicate_field("epoch"));
                            }
                            epoch__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::HeadOffset => {
                            if head_offset__.is_some() {
                                return Err(serde::de::Error::duplicate_field("headOffset"));
                            }
                            head_offset__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::Members => {
                            if members__.is_some() {
                                return Err(serde::de::Error::duplicate_field("members"));
                            }
                            members__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::Created => {
                            if created__.is_some() {
                                return Err(serde::de::Error::duplicate_field("created"));
                            }
                            created__ = Some(map_.next_value()?);
                        }
                    }
                }
                Ok(ChannelInfo {
                    channel: channel__.unwrap_or_default(),
                    kind: kind__.unwrap_or_default(),
                    access: access__.unwrap_or_default(),
                    created_at_ms: created_at_ms__.unwrap_or_default(),
                    epoch: epoch__.unwrap_or_default(),
                    head_offset: head_offset__.unwrap_or_default(),
                    members: members__.unwrap_or_default(),
                    created: created__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("sterna.v1.ChannelInfo", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for ChannelKind {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        let variant = match self {
            Self::Unspecified => "CHANNEL_KIND_UNSPECIFIED",
            Self::Direct => "CHANNEL_KIND_DIRECT",
            Self::Group => "CHANNEL_KIND_GROUP",
            Self::Broadcast => "CHANNEL_KIND_BROADCAST",
        };
        serializer.serialize_str(variant)
    }
}
impl<'de> serde::Deserialize<'de> for ChannelKind {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "CHANNEL_KIND_UNSPECIFIED",
            "CHANNEL_KIND_DIRECT",
            "CHANNEL_KIND_GROUP",
            "CHANNEL_KIND_BROADCAST",
        ];

        struct GeneratedVisitor;

        impl serde::de::Visitor<'_> for GeneratedVisitor {
            type Value = ChannelKind;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(formatter, "expected one of: {:?}", &FIELDS)
            }

            fn visit_i64<E>(self, v: i64) -> std::result::Result<Self::Value, E>
            where
                E: serde::de::Error,
            {
                i32::try_from(v)
                    .ok()
                    .and_then(|x| x.try_into().ok())
                    .ok_or_else(|| {
                        serde::de::Error::invalid_value(serde::de::Unexpected::Signed(v), &self)
                    })
            }

            fn visit_u64<E>(self, v: u64) -> std::result::Result<Self::Value, E>
            where
                E: serde::de::Error,
            {
                i32::try_from(v)
                    .ok()
                    .and_then(|x| x.try_into().ok())
                    .ok_or_else(|| {
                        serde::de::Error::invalid_value(serde::de::Unexpected::Unsigned(v), &self)
                    })
            }

            fn visit_str<E>(self, value: &str) -> std::result::Result<Self::Value, E>
            where
                E: serde::de::Error,
            {
                match value {
                    "CHANNEL_KIND_UNSPECIFIED" => Ok(ChannelKind::Unspecified),
                    "CHANNEL_KIND_DIRECT" => Ok(ChannelKind::Direct),
                    "CHANNEL_KIND_GROUP" => Ok(ChannelKind::Group),
                    "CHANNEL_KIND_BROADCAST" => Ok(ChannelKind::Broadcast),
                    _ => Err(serde::de::Error::unknown_variant(value, FIELDS)),
                }
            }
        }
        deserializer.deserialize_any(GeneratedVisitor)
    }
}
impl serde::Serialize for Command {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if self.id != 0 {
            len += 1;
        }
        if self.verb.is_some() {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("sterna.v1.Command", len)?;
        if self.id != 0 {
            struct_ser.serialize_field("id", &self.id)?;
        }
        if let Some(v) = self.verb.as_ref() {
            match v {
                command::Verb::Hello(v) => {
                    struct_ser.serialize_field("hello", v)?;
                }
                command::Verb::Publish(v) => {
                    struct_ser.serialize_field("publish", v)?;
                }
                command::Verb::Subscribe(v) => {
                    struct_ser.serialize_field("subscribe", v)?;
                }
                command::Verb::Unsubscribe(v) => {
                    struct_ser.serialize_field("unsubscribe", v)?;
                }
                command::Verb::History(v) => {
                    struct_ser.serialize_field("history", v)?;
                }
                command::Verb::Presence(v) => {
                    struct_ser.serialize_field("presence", v)?;
                }
                command::Verb::Ping(v) => {
                    struct_ser.serialize_field("ping", v)?;
                }
                command::Verb::Ack(v) => {
                    struct_ser.serialize_field("ack", v)?;
                }
                command::Verb::MarkRead(v) => {
                    struct_ser.serialize_field("markRead", v)?;
                }
                command::Verb::Ephemeral(v) => {
                    struct_ser.serialize_field("ephemeral", v)?;
                }
                command::Verb::Refresh(v) => {
                    struct_ser.serialize_field("refresh", v)?;
                }
                command::Verb::CreateChannel(v) => {
                    struct_ser.serialize_field("createChannel", v)?;
                }
                command::Verb::SetMember(v) => {
                    struct_ser.serialize_field("setMember", v)?;
                }
                command::Verb::RemoveMember(v) => {
                    struct_ser.serialize_field("removeMember", v)?;
                }
                command::Verb::Members(v) => {
                    struct_ser.serialize_field("members", v)?;
                }
                command::Verb::Goodbye(v) => {
                    struct_ser.serialize_field("goodbye", v)?;
                }
                command::Verb::Sync(v) => {
                    struct_ser.serialize_field("sync", v)?;
                }
                command::Verb::ChangeInbox(v) => {
                    struct_ser.serialize_field("changeInbox", v)?;
                }
                command::Verb::SetActivity(v) => {
                    struct_ser.serialize_field("setActivity", v)?;
                }
            }
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for Command {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "id",
            "hello",
            "publish",
            "subscribe",
            "unsubscribe",
            "history",
            "presence",
            "ping",
            "ack",
            "mark_read",
            "markRead",
            "ephemeral",
            "refresh",
            "create_channel",
            "createChannel",
            "set_member",
            "setMember",
            "remove_member",
            "removeMember",
            "members",
            "goodbye",
            "sync",
            "change_inbox",
            "changeInbox",
            "set_activity",
            "setActivity",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Id,
            Hello,
            Publish,
            Subscribe,
            Unsubscribe,
            History,
            Presence,
            Ping,
            Ack,
            MarkRead,
            Ephemeral,
            Refresh,
            CreateChannel,
            SetMember,
            RemoveMember,
            Members,
            Goodbye,
            Sync,
            ChangeInbox,
            SetActivity,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "id" => Ok(GeneratedField::Id),
                            "hello" => Ok(GeneratedField::Hello),
                            "publish" => Ok(GeneratedField::Publish),
                            "subscribe" => Ok(GeneratedField::Subscribe),
                            "unsubscribe" => Ok(GeneratedField::Unsubscribe),
                            "history" => Ok(GeneratedField::History),
                            "presence" => Ok(GeneratedField::Presence),
                            "ping" => Ok(GeneratedField::Ping),
                            "ack" => Ok(GeneratedField::Ack),
                            "markRead" | "mark_read" => Ok(GeneratedField::MarkRead),
                            "ephemeral" => Ok(GeneratedField::Ephemeral),
                            "refresh" => Ok(GeneratedField::Refresh),
                            "createChannel" | "create_channel" => Ok(GeneratedField::CreateChannel),
                            "setMember" | "set_member" => Ok(GeneratedField::SetMember),
                            "removeMember" | "remove_member" => Ok(GeneratedField::RemoveMember),
                            "members" => Ok(GeneratedField::Members),
                            "goodbye" => Ok(GeneratedField::Goodbye),
                            "sync" => Ok(GeneratedField::Sync),
                            "changeInbox" | "change_inbox" => Ok(GeneratedField::ChangeInbox),
                            "setActivity" | "set_activity" => Ok(GeneratedField::SetActivity),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = Command;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct sterna.v1.Command")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<Command, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut id__ = None;
                let mut verb__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Id => {
                            if id__.is_some() {
                                return Err(serde::de::Error::duplicate_field("id"));
                            }
                            id__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::Hello => {
                            if verb__.is_some() {
                                return Err(serde::de::Error::duplicate_field("hello"));
                            }
                            verb__ = map_.next_value::<::std::option::Option<_>>()?.map(command::Verb::Hello)
;
                        }
                        GeneratedField::Publish => {
                            if verb__.is_some() {
                                return Err(serde::de::Error::duplicate_field("publish"));
                            }
                            verb__ = map_.next_value::<::std::option::Option<_>>()?.map(command::Verb::Publish)
;
                        }
                        GeneratedField::Subscribe => {
                            if verb__.is_some() {
                                return Err(serde::de::Error::duplicate_field("subscribe"));
                            }
                            verb__ = map_.next_value::<::std::option::Option<_>>()?.map(command::Verb::Subscribe)
;
                        }
                        GeneratedField::Unsubscribe => {
                            if verb__.is_some() {
                                return Err(serde::de::Error::duplicate_field("unsubscribe"));
                            }
                            verb__ = map_.next_value::<::std::option::Option<_>>()?.map(command::Verb::Unsubscribe)
;
                        }
                        GeneratedField::History => {
                            if verb__.is_some() {
                                return Err(serde::de::Error::duplicate_field("history"));
                            }
                            verb__ = map_.next_value::<::std::option::Option<_>>()?.map(command::Verb::History)
;
                        }
                        GeneratedField::Presence => {
                            if verb__.is_some() {
                                return Err(serde::de::Error::duplicate_field("presence"));
                            }
                            verb__ = map_.next_value::<::std::option::Option<_>>()?.map(command::Verb::Presence)
;
                        }
                        GeneratedField::Ping => {
                            if verb__.is_some() {
                                return Err(serde::de::Error::duplicate_field("ping"));
                            }
                            verb__ = map_.next_value::<::std::option::Option<_>>()?.map(command::Verb::Ping)
;
                        }
                        GeneratedField::Ack => {
                            if verb__.is_some() {
                                return Err(serde::de::Error::duplicate_field("ack"));
                            }
                            verb__ = map_.next_value::<::std::option::Option<_>>()?.map(command::Verb::Ack)
;
                        }
                        GeneratedField::MarkRead => {
                            if verb__.is_some() {
                                return Err(serde::de::Error::duplicate_field("markRead"));
                            }
                            verb__ = map_.next_value::<::std::option::Option<_>>()?.map(command::Verb::MarkRead)
;
                        }
                        GeneratedField::Ephemeral => {
                            if verb__.is_some() {
                                return Err(serde::de::Error::duplicate_field("ephemeral"));
                            }
                            verb__ = map_.next_value::<::std::option::Option<_>>()?.map(command::Verb::Ephemeral)
;
                        }
                        GeneratedField::Refresh => {
                            if verb__.is_some() {
                                return Err(serde::de::Error::duplicate_field("refresh"));
                            }
                            verb__ = map_.next_value::<::std::option::Option<_>>()?.map(command::Verb::Refresh)
;
                        }
                        GeneratedField::CreateChannel => {
                            if verb__.is_some() {
                                return Err(serde::de::Error::duplicate_field("createChannel"));
                            }
                            verb__ = map_.next_value::<::std::option::Option<_>>()?.map(command::Verb::CreateChannel)
;
                        }
                        GeneratedField::SetMember => {
                            if verb__.is_some() {
                                return Err(serde::de::Error::duplicate_field("setMember"));
                            }
                            verb__ = map_.next_value::<::std::option::Option<_>>()?.map(command::Verb::SetMember)
;
                        }
                        GeneratedField::RemoveMember => {
                            if verb__.is_some() {
                                return Err(serde::de::Error::duplicate_field("removeMember"));
                            }
                            verb__ = map_.next_value::<::std::option::Option<_>>()?.map(command::Verb::RemoveMember)
;
                        }
                        GeneratedField::Members => {
                            if verb__.is_some() {
                                return Err(serde::de::Error::duplicate_field("members"));
                            }
                            verb__ = map_.next_value::<::std::option::Option<_>>()?.map(command::Verb::Members)
;
                        }
                        GeneratedField::Goodbye => {
                            if verb__.is_some() {
                                return Err(serde::de::Error::duplicate_field("goodbye"));
                            }
                            verb__ = map_.next_value::<::std::option::Option<_>>()?.map(command::Verb::Goodbye)
;
                        }
                        GeneratedField::Sync => {
                            if verb__.is_some() {
                                return Err(serde::de::Error::duplicate_field("sync"));
                            }
                            verb__ = map_.next_value::<::std::option::Option<_>>()?.map(command::Verb::Sync)
;
                        }
                        GeneratedField::ChangeInbox => {
                            if verb__.is_some() {
                                return Err(serde::de::Error::duplicate_field("changeInbox"));
                            }
                            verb__ = map_.next_value::<::std::option::Option<_>>()?.map(command::Verb::ChangeInbox)
;
                        }
                        GeneratedField::SetActivity => {
                            if verb__.is_some() {
                                return Err(serde::de::Error::duplicate_field("setActivity"));
                            }
                            verb__ = map_.next_value::<::std::option::Option<_>>()?.map(command::Verb::SetActivity)
;
                        }
                    }
                }
                Ok(Command {
                    id: id__.unwrap_or_default(),
                    verb: verb__,
                })
            }
        }
        deserializer.deserialize_struct("sterna.v1.Command", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for CreateChannel {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.channel.is_empty() {
            len += 1;
        }
        if self.kind != 0 {
            len += 1;
        }
        if self.access != 0 {
            len += 1;
        }
        if !self.members.is_empty() {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("sterna.v1.CreateChannel", len)?;
        if !self.channel.is_empty() {
            struct_ser.serialize_field("channel", &self.channel)?;
        }
        if self.kind != 0 {
            match ChannelKind::try_from(self.kind) {
                Ok(v) => struct_ser.serialize_field("kind", &v)?,
                Err(_) => struct_ser.serialize_field("kind", &self.kind)?,
            }
        }
        if self.access != 0 {
            match ChannelAccess::try_from(self.access) {
                Ok(v) => struct_ser.serialize_field("access", &v)?,
                Err(_) => struct_ser.serialize_field("access", &self.access)?,
            }
        }
        if !self.members.is_empty() {
            struct_ser.serialize_field("members", &self.members)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for CreateChannel {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "channel",
            "kind",
            "access",
            "members",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Channel,
            Kind,
            Access,
            Members,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "channel" => Ok(GeneratedField::Channel),
                            "kind" => Ok(GeneratedField::Kind),
                            "access" => Ok(GeneratedField::Access),
                            "members" => Ok(GeneratedField::Members),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = CreateChannel;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct sterna.v1.CreateChannel")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<CreateChannel, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut channel__ = None;
                let mut kind__ = None;
                let mut access__ = None;
                let mut members__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Channel => {
                            if channel__.is_some() {
                                return Err(serde::de::Error::duplicate_field("channel"));
                            }
                            channel__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Kind => {
                            if kind__.is_some() {
                                return Err(serde::de::Error::duplicate_field("kind"));
                            }
                            kind__ = Some(map_.next_value::<ChannelKind>()? as i32);
                        }
                        GeneratedField::Access => {
                            if access__.is_some() {
                                return Err(serde::de::Error::duplicate_field("access"));
                            }
                            access__ = Some(map_.next_value::<ChannelAccess>()? as i32);
                        }
                        GeneratedField::Members => {
                            if members__.is_some() {
                                return Err(serde::de::Error::duplicate_field("members"));
                            }
                            members__ = Some(map_.next_value()?);
                        }
                    }
                }
                Ok(CreateChannel {
                    channel: channel__.unwrap_or_default(),
                    kind: kind__.unwrap_or_default(),
                    access: access__.unwrap_or_default(),
                    members: members__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("sterna.v1.CreateChannel", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for Done {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let len = 0;
        let struct_ser = serializer.serialize_struct("sterna.v1.Done", len)?;
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for Done {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                            Err(serde::de::Error::unknown_field(value, FIELDS))
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = Done;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct sterna.v1.Done")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<Done, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                while map_.next_key::<GeneratedField>()?.is_some() {
                    let _ = map_.next_value::<serde::de::IgnoredAny>()?;
                }
                Ok(Done {
                })
            }
        }
        deserializer.deserialize_struct("sterna.v1.Done", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for Durability {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        let variant = match self {
            Self::Unspecified => "DURABILITY_UNSPECIFIED",
            Self::Fsync => "DURABILITY_FSYNC",
            Self::Os => "DURABILITY_OS",
            Self::Memory => "DURABILITY_MEMORY",
            Self::External => "DURABILITY_EXTERNAL",
        };
        serializer.serialize_str(variant)
    }
}
impl<'de> serde::Deserialize<'de> for Durability {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "DURABILITY_UNSPECIFIED",
            "DURABILITY_FSYNC",
            "DURABILITY_OS",
            "DURABILITY_MEMORY",
            "DURABILITY_EXTERNAL",
        ];

        struct GeneratedVisitor;

        impl serde::de::Visitor<'_> for GeneratedVisitor {
            type Value = Durability;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(formatter, "expected one of: {:?}", &FIELDS)
            }

            fn visit_i64<E>(self, v: i64) -> std::result::Result<Self::Value, E>
            where
                E: serde::de::Error,
            {
                i32::try_from(v)
                    .ok()
                    .and_then(|x| x.try_into().ok())
                    .ok_or_else(|| {
                        serde::de::Error::invalid_value(serde::de::Unexpected::Signed(v), &self)
                    })
            }

            fn visit_u64<E>(self, v: u64) -> std::result::Result<Self::Value, E>
            where
                E: serde::de::Error,
            {
                i32::try_from(v)
                    .ok()
                    .and_then(|x| x.try_into().ok())
                    .ok_or_else(|| {
                        serde::de::Error::invalid_value(serde::de::Unexpected::Unsigned(v), &self)
                    })
            }

            fn visit_str<E>(self, value: &str) -> std::result::Result<Self::Value, E>
            where
                E: serde::de::Error,
            {
                match value {
                    "DURABILITY_UNSPECIFIED" => Ok(Durability::Unspecified),
                    "DURABILITY_FSYNC" => Ok(Durability::Fsync),
                    "DURABILITY_OS" => Ok(Durability::Os),
                    "DURABILITY_MEMORY" => Ok(Durability::Memory),
                    "DURABILITY_EXTERNAL" => Ok(Durability::External),
                    _ => Err(serde::de::Error::unknown_variant(value, FIELDS)),
                }
            }
        }
        deserializer.deserialize_any(GeneratedVisitor)
    }
}
impl serde::Serialize for Ephemeral {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.channel.is_empty() {
            len += 1;
        }
        if !self.key.is_empty() {
            len += 1;
        }
        if !self.payload.is_empty() {
            len += 1;
        }
        if !self.sender.is_empty() {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("sterna.v1.Ephemeral", len)?;
        if !self.channel.is_empty() {
            struct_ser.serialize_field("channel", &self.channel)?;
        }
        if !self.key.is_empty() {
            struct_ser.serialize_field("key", &self.key)?;
        }
        if !self.payload.is_empty() {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("payload", pbjson::private::base64::encode(&self.payload).as_str())?;
        }
        if !self.sender.is_empty() {
            struct_ser.serialize_field("sender", &self.sender)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for Ephemeral {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "channel",
            "key",
            "payload",
            "sender",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Channel,
            Key,
            Payload,
            Sender,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "channel" => Ok(GeneratedField::Channel),
                            "key" => Ok(GeneratedField::Key),
                            "payload" => Ok(GeneratedField::Payload),
                            "sender" => Ok(GeneratedField::Sender),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = Ephemeral;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct sterna.v1.Ephemeral")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<Ephemeral, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut channel__ = None;
                let mut key__ = None;
                let mut payload__ = None;
                let mut sender__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Channel => {
                            if channel__.is_some() {
                                return Err(serde::de::Error::duplicate_field("channel"));
                            }
                            channel__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Key => {
                            if key__.is_some() {
                                return Err(serde::de::Error::duplicate_field("key"));
                            }
                            key__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Payload => {
                            if payload__.is_some() {
                                return Err(serde::de::Error::duplicate_field("payload"));
                            }
                            payload__ = 
                                Some(map_.next_value::<::pbjson::private::BytesDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::Sender => {
                            if sender__.is_some() {
                                return Err(serde::de::Error::duplicate_field("sender"));
                            }
                            sender__ = Some(map_.next_value()?);
                        }
                    }
                }
                Ok(Ephemeral {
                    channel: channel__.unwrap_or_default(),
                    key: key__.unwrap_or_default(),
                    payload: payload__.unwrap_or_default(),
                    sender: sender__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("sterna.v1.Ephemeral", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for EpochChange {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if self.old_epoch != 0 {
            len += 1;
        }
        if self.new_epoch != 0 {
            len += 1;
        }
        if self.keep_upto != 0 {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("sterna.v1.EpochChange", len)?;
        if self.old_epoch != 0 {
            struct_ser.serialize_field("oldEpoch", &self.old_epoch)?;
        }
        if self.new_epoch != 0 {
            struct_ser.serialize_field("newEpoch", &self.new_epoch)?;
        }
        if self.keep_upto != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("keepUpto", ToString::to_string(&self.keep_upto).as_str())?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for EpochChange {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "old_epoch",
            "oldEpoch",
            "new_epoch",
            "newEpoch",
            "keep_upto",
            "keepUpto",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            OldEpoch,
            NewEpoch,
            KeepUpto,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "oldEpoch" | "old_epoch" => Ok(GeneratedField::OldEpoch),
                            "newEpoch" | "new_epoch" => Ok(GeneratedField::NewEpoch),
                            "keepUpto" | "keep_upto" => Ok(GeneratedField::KeepUpto),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = EpochChange;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct sterna.v1.EpochChange")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<EpochChange, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut old_epoch__ = None;
                let mut new_epoch__ = None;
                let mut keep_upto__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::OldEpoch => {
                            if old_epoch__.is_some() {
                                return Err(serde::de::Error::duplicate_field("oldEpoch"));
                            }
                            old_epoch__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::NewEpoch => {
                            if new_epoch__.is_some() {
                                return Err(serde::de::Error::duplicate_field("newEpoch"));
                            }
                            new_epoch__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::KeepUpto => {
                            if keep_upto__.is_some() {
                                return Err(serde::de::Error::duplicate_field("keepUpto"));
                            }
                            keep_upto__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                    }
                }
                Ok(EpochChange {
                    old_epoch: old_epoch__.unwrap_or_default(),
                    new_epoch: new_epoch__.unwrap_or_default(),
                    keep_upto: keep_upto__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("sterna.v1.EpochChange", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for Error {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if self.code != 0 {
            len += 1;
        }
        if !self.name.is_empty() {
            len += 1;
        }
        if !self.message.is_empty() {
            len += 1;
        }
        if self.retryable {
            len += 1;
        }
        if self.retry_after_ms != 0 {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("sterna.v1.Error", len)?;
        if self.code != 0 {
            struct_ser.serialize_field("code", &self.code)?;
        }
        if !self.name.is_empty() {
            struct_ser.serialize_field("name", &self.name)?;
        }
        if !self.message.is_empty() {
            struct_ser.serialize_field("message", &self.message)?;
        }
        if self.retryable {
            struct_ser.serialize_field("retryable", &self.retryable)?;
        }
        if self.retry_after_ms != 0 {
            struct_ser.serialize_field("retryAfterMs", &self.retry_after_ms)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for Error {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "code",
            "name",
            "message",
            "retryable",
            "retry_after_ms",
            "retryAfterMs",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Code,
            Name,
            Message,
            Retryable,
            RetryAfterMs,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "code" => Ok(GeneratedField::Code),
                            "name" => Ok(GeneratedField::Name),
                            "message" => Ok(GeneratedField::Message),
                            "retryable" => Ok(GeneratedField::Retryable),
                            "retryAfterMs" | "retry_after_ms" => Ok(GeneratedField::RetryAfterMs),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = Error;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct sterna.v1.Error")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<Error, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut code__ = None;
                let mut name__ = None;
                let mut message__ = None;
                let mut retryable__ = None;
                let mut retry_after_ms__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Code => {
                            if code__.is_some() {
                                return Err(serde::de::Error::duplicate_field("code"));
                            }
                            code__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::Name => {
                            if name__.is_some() {
                                return Err(serde::de::Error::duplicate_field("name"));
                            }
                            name__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Message => {
                            if message__.is_some() {
                                return Err(serde::de::Error::duplicate_field("message"));
                            }
                            message__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Retryable => {
                            if retryable__.is_some() {
                                return Err(serde::de::Error::duplicate_field("retryable"));
                            }
                            retryable__ = Some(map_.next_value()?);
                        }
                        GeneratedField::RetryAfterMs => {
                            if retry_after_ms__.is_some() {
                                return Err(serde::de::Error::duplicate_field("retryAfterMs"));
                            }
                            retry_after_ms__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                    }
                }
                Ok(Error {
                    code: code__.unwrap_or_default(),
                    name: name__.unwrap_or_default(),
                    message: message__.unwrap_or_default(),
                    retryable: retryable__.unwrap_or_default(),
                    retry_after_ms: retry_after_ms__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("sterna.v1.Error", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for Frame {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if self.body.is_some() {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("sterna.v1.Frame", len)?;
        if let Some(v) = self.body.as_ref() {
            match v {
                frame::Body::Command(v) => {
                    struct_ser.serialize_field("command", v)?;
                }
                frame::Body::Reply(v) => {
                    struct_ser.serialize_field("reply", v)?;
                }
                frame::Body::Push(v) => {
                    struct_ser.serialize_field("push", v)?;
                }
            }
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for Frame {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "command",
            "reply",
            "push",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Command,
            Reply,
            Push,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "command" => Ok(GeneratedField::Command),
                            "reply" => Ok(GeneratedField::Reply),
                            "push" => Ok(GeneratedField::Push),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = Frame;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct sterna.v1.Frame")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<Frame, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut body__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Command => {
                            if body__.is_some() {
                                return Err(serde::de::Error::duplicate_field("command"));
                            }
                            body__ = map_.next_value::<::std::option::Option<_>>()?.map(frame::Body::Command)
;
                        }
                        GeneratedField::Reply => {
                            if body__.is_some() {
                                return Err(serde::de::Error::duplicate_field("reply"));
                            }
                            body__ = map_.next_value::<::std::option::Option<_>>()?.map(frame::Body::Reply)
;
                        }
                        GeneratedField::Push => {
                            if body__.is_some() {
                                return Err(serde::de::Error::duplicate_field("push"));
                            }
                            body__ = map_.next_value::<::std::option::Option<_>>()?.map(frame::Body::Push)
;
                        }
                    }
                }
                Ok(Frame {
                    body: body__,
                })
            }
        }
        deserializer.deserialize_struct("sterna.v1.Frame", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for Gap {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.channel.is_empty() {
            len += 1;
        }
        if self.epoch != 0 {
            len += 1;
        }
        if self.after_offset != 0 {
            len += 1;
        }
        if self.upto_offset != 0 {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("sterna.v1.Gap", len)?;
        if !self.channel.is_empty() {
            struct_ser.serialize_field("channel", &self.channel)?;
        }
        if self.epoch != 0 {
            struct_ser.serialize_field("epoch", &self.epoch)?;
        }
        if self.after_offset != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("afterOffset", ToString::to_string(&self.after_offset).as_str())?;
        }
        if self.upto_offset != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("uptoOffset", ToString::to_string(&self.upto_offset).as_str())?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for Gap {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "channel",
            "epoch",
            "after_offset",
            "afterOffset",
            "upto_offset",
            "uptoOffset",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Channel,
            Epoch,
            AfterOffset,
            UptoOffset,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "channel" => Ok(GeneratedField::Channel),
                            "epoch" => Ok(GeneratedField::Epoch),
                            "afterOffset" | "after_offset" => Ok(GeneratedField::AfterOffset),
                            "uptoOffset" | "upto_offset" => Ok(GeneratedField::UptoOffset),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = Gap;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct sterna.v1.Gap")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<Gap, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut channel__ = None;
                let mut epoch__ = None;
                let mut after_offset__ = None;
                let mut upto_offset__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Channel => {
                            if channel__.is_some() {
                                return Err(serde::de::Error::duplicate_field("channel"));
                            }
                            channel__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Epoch => {
                            if epoch__.is_some() {
                                return Err(serde::de::Error::duplicate_field("epoch"));
                            }
                            epoch__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::AfterOffset => {
                            if after_offset__.is_some() {
                                return Err(serde::de::Error::duplicate_field("afterOffset"));
                            }
                            after_offset__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::UptoOffset => {
                            if upto_offset__.is_some() {
                                return Err(serde::de::Error::duplicate_field("uptoOffset"));
                            }
                            upto_offset__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                    }
                }
                Ok(Gap {
                    channel: channel__.unwrap_or_default(),
                    epoch: epoch__.unwrap_or_default(),
                    after_offset: after_offset__.unwrap_or_default(),
                    upto_offset: upto_offset__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("sterna.v1.Gap", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for GoAway {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if self.deadline_ms != 0 {
            len += 1;
        }
        if !self.successor.is_empty() {
            len += 1;
        }
        if !self.reason.is_empty() {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("sterna.v1.GoAway", len)?;
        if self.deadline_ms != 0 {
            struct_ser.serialize_field("deadlineMs", &self.deadline_ms)?;
        }
        if !self.successor.is_empty() {
            struct_ser.serialize_field("successor", &self.successor)?;
        }
        if !self.reason.is_empty() {
            struct_ser.serialize_field("reason", &self.reason)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for GoAway {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "deadline_ms",
            "deadlineMs",
            "successor",
            "reason",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            DeadlineMs,
            Successor,
            Reason,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "deadlineMs" | "deadline_ms" => Ok(GeneratedField::DeadlineMs),
                            "successor" => Ok(GeneratedField::Successor),
                            "reason" => Ok(GeneratedField::Reason),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = GoAway;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct sterna.v1.GoAway")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<GoAway, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut deadline_ms__ = None;
                let mut successor__ = None;
                let mut reason__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::DeadlineMs => {
                            if deadline_ms__.is_some() {
                                return Err(serde::de::Error::duplicate_field("deadlineMs"));
                            }
                            deadline_ms__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::Successor => {
                            if successor__.is_some() {
                                return Err(serde::de::Error::duplicate_field("successor"));
                            }
                            successor__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Reason => {
                            if reason__.is_some() {
                                return Err(serde::de::Error::duplicate_field("reason"));
                            }
                            reason__ = Some(map_.next_value()?);
                        }
                    }
                }
                Ok(GoAway {
                    deadline_ms: deadline_ms__.unwrap_or_default(),
                    successor: successor__.unwrap_or_default(),
                    reason: reason__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("sterna.v1.GoAway", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for Goodbye {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let len = 0;
        let struct_ser = serializer.serialize_struct("sterna.v1.Goodbye", len)?;
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for Goodbye {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                            Err(serde::de::Error::unknown_field(value, FIELDS))
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = Goodbye;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct sterna.v1.Goodbye")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<Goodbye, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                while map_.next_key::<GeneratedField>()?.is_some() {
                    let _ = map_.next_value::<serde::de::IgnoredAny>()?;
                }
                Ok(Goodbye {
                })
            }
        }
        deserializer.deserialize_struct("sterna.v1.Goodbye", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for Head {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.channel.is_empty() {
            len += 1;
        }
        if self.epoch != 0 {
            len += 1;
        }
        if self.offset != 0 {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("sterna.v1.Head", len)?;
        if !self.channel.is_empty() {
            struct_ser.serialize_field("channel", &self.channel)?;
        }
        if self.epoch != 0 {
            struct_ser.serialize_field("epoch", &self.epoch)?;
        }
        if self.offset != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("offset", ToString::to_string(&self.offset).as_str())?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for Head {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "channel",
            "epoch",
            "offset",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Channel,
            Epoch,
            Offset,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "channel" => Ok(GeneratedField::Channel),
                            "epoch" => Ok(GeneratedField::Epoch),
                            "offset" => Ok(GeneratedField::Offset),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = Head;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct sterna.v1.Head")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<Head, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut channel__ = None;
                let mut epoch__ = None;
                let mut offset__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Channel => {
                            if channel__.is_some() {
                                return Err(serde::de::Error::duplicate_field("channel"));
                            }
                            channel__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Epoch => {
                            if epoch__.is_some() {
                                return Err(serde::de::Error::duplicate_field("epoch"));
                            }
                            epoch__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::Offset => {
                            if offset__.is_some() {
                                return Err(serde::de::Error::duplicate_field("offset"));
                            }
                            offset__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                    }
                }
                Ok(Head {
                    channel: channel__.unwrap_or_default(),
                    epoch: epoch__.unwrap_or_default(),
                    offset: offset__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("sterna.v1.Head", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for Hello {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.access_token.is_empty() {
            len += 1;
        }
        if !self.client_id.is_empty() {
            len += 1;
        }
        if !self.resume_ticket.is_empty() {
            len += 1;
        }
        if !self.subscriptions.is_empty() {
            len += 1;
        }
        if !self.user_agent.is_empty() {
            len += 1;
        }
        if self.network != 0 {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("sterna.v1.Hello", len)?;
        if !self.access_token.is_empty() {
            struct_ser.serialize_field("accessToken", &self.access_token)?;
        }
        if !self.client_id.is_empty() {
            struct_ser.serialize_field("clientId", &self.client_id)?;
        }
        if !self.resume_ticket.is_empty() {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("resumeTicket", pbjson::private::base64::encode(&self.resume_ticket).as_str())?;
        }
        if !self.subscriptions.is_empty() {
            struct_ser.serialize_field("subscriptions", &self.subscriptions)?;
        }
        if !self.user_agent.is_empty() {
            struct_ser.serialize_field("userAgent", &self.user_agent)?;
        }
        if self.network != 0 {
            match Network::try_from(self.network) {
                Ok(v) => struct_ser.serialize_field("network", &v)?,
                Err(_) => struct_ser.serialize_field("network", &self.network)?,
            }
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for Hello {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "access_token",
            "accessToken",
            "client_id",
            "clientId",
            "resume_ticket",
            "resumeTicket",
            "subscriptions",
            "user_agent",
            "userAgent",
            "network",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            AccessToken,
            ClientId,
            ResumeTicket,
            Subscriptions,
            UserAgent,
            Network,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "accessToken" | "access_token" => Ok(GeneratedField::AccessToken),
                            "clientId" | "client_id" => Ok(GeneratedField::ClientId),
                            "resumeTicket" | "resume_ticket" => Ok(GeneratedField::ResumeTicket),
                            "subscriptions" => Ok(GeneratedField::Subscriptions),
                            "userAgent" | "user_agent" => Ok(GeneratedField::UserAgent),
                            "network" => Ok(GeneratedField::Network),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = Hello;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct sterna.v1.Hello")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<Hello, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut access_token__ = None;
                let mut client_id__ = None;
                let mut resume_ticket__ = None;
                let mut subscriptions__ = None;
                let mut user_agent__ = None;
                let mut network__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::AccessToken => {
                            if access_token__.is_some() {
                                return Err(serde::de::Error::duplicate_field("accessToken"));
                            }
                            access_token__ = Some(map_.next_value()?);
                        }
                        GeneratedField::ClientId => {
                            if client_id__.is_some() {
                                return Err(serde::de::Error::duplicate_field("clientId"));
                            }
                            client_id__ = Some(map_.next_value()?);
                        }
                        GeneratedField::ResumeTicket => {
                            if resume_ticket__.is_some() {
                                return Err(serde::de::Error::duplicate_field("resumeTicket"));
                            }
                            resume_ticket__ = 
                                Some(map_.next_value::<::pbjson::private::BytesDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::Subscriptions => {
                            if subscriptions__.is_some() {
                                return Err(serde::de::Error::duplicate_field("subscriptions"));
                            }
                            subscriptions__ = Some(map_.next_value()?);
                        }
                        GeneratedField::UserAgent => {
                            if user_agent__.is_some() {
                                return Err(serde::de::Error::duplicate_field("userAgent"));
                            }
                            user_agent__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Network => {
                            if network__.is_some() {
                                return Err(serde::de::Error::duplicate_field("network"));
                            }
                            network__ = Some(map_.next_value::<Network>()? as i32);
                        }
                    }
                }
                Ok(Hello {
                    access_token: access_token__.unwrap_or_default(),
                    client_id: client_id__.unwrap_or_default(),
                    resume_ticket: resume_ticket__.unwrap_or_default(),
                    subscriptions: subscriptions__.unwrap_or_default(),
                    user_agent: user_agent__.unwrap_or_default(),
                    network: network__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("sterna.v1.Hello", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for History {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.channel.is_empty() {
            len += 1;
        }
        if self.since.is_some() {
            len += 1;
        }
        if self.limit != 0 {
            len += 1;
        }
        if self.backwards {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("sterna.v1.History", len)?;
        if !self.channel.is_empty() {
            struct_ser.serialize_field("channel", &self.channel)?;
        }
        if let Some(v) = self.since.as_ref() {
            struct_ser.serialize_field("since", v)?;
        }
        if self.limit != 0 {
            struct_ser.serialize_field("limit", &self.limit)?;
        }
        if self.backwards {
            struct_ser.serialize_field("backwards", &self.backwards)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for History {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "channel",
            "since",
            "limit",
            "backwards",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Channel,
            Since,
            Limit,
            Backwards,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "channel" => Ok(GeneratedField::Channel),
                            "since" => Ok(GeneratedField::Since),
                            "limit" => Ok(GeneratedField::Limit),
                            "backwards" => Ok(GeneratedField::Backwards),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = History;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct sterna.v1.History")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<History, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut channel__ = None;
                let mut since__ = None;
                let mut limit__ = None;
                let mut backwards__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Channel => {
                            if channel__.is_some() {
                                return Err(serde::de::Error::duplicate_field("channel"));
                            }
                            channel__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Since => {
                            if since__.is_some() {
                                return Err(serde::de::Error::duplicate_field("since"));
                            }
                            since__ = map_.next_value()?;
                        }
                        GeneratedField::Limit => {
                            if limit__.is_some() {
                                return Err(serde::de::Error::duplicate_field("limit"));
                            }
                            limit__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::Backwards => {
                            if backwards__.is_some() {
                                return Err(serde::de::Error::duplicate_field("backwards"));
                            }
                            backwards__ = Some(map_.next_value()?);
                        }
                    }
                }
                Ok(History {
                    channel: channel__.unwrap_or_default(),
                    since: since__,
                    limit: limit__.unwrap_or_default(),
                    backwards: backwards__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("sterna.v1.History", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for HistoryPage {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.channel.is_empty() {
            len += 1;
        }
        if self.epoch != 0 {
            len += 1;
        }
        if !self.publications.is_empty() {
            len += 1;
        }
        if self.head_offset != 0 {
            len += 1;
        }
        if self.more {
            len += 1;
        }
        if self.epoch_change.is_some() {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("sterna.v1.HistoryPage", len)?;
        if !self.channel.is_empty() {
            struct_ser.serialize_field("channel", &self.channel)?;
        }
        if self.epoch != 0 {
            struct_ser.serialize_field("epoch", &self.epoch)?;
        }
        if !self.publications.is_empty() {
            struct_ser.serialize_field("publications", &self.publications)?;
        }
        if self.head_offset != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("headOffset", ToString::to_string(&self.head_offset).as_str())?;
        }
        if self.more {
            struct_ser.serialize_field("more", &self.more)?;
        }
        if let Some(v) = self.epoch_change.as_ref() {
            struct_ser.serialize_field("epochChange", v)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for HistoryPage {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "channel",
            "epoch",
            "publications",
            "head_offset",
            "headOffset",
            "more",
            "epoch_change",
            "epochChange",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Channel,
            Epoch,
            Publications,
            HeadOffset,
            More,
            EpochChange,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "channel" => Ok(GeneratedField::Channel),
                            "epoch" => Ok(GeneratedField::Epoch),
                            "publications" => Ok(GeneratedField::Publications),
                            "headOffset" | "head_offset" => Ok(GeneratedField::HeadOffset),
                            "more" => Ok(GeneratedField::More),
                            "epochChange" | "epoch_change" => Ok(GeneratedField::EpochChange),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = HistoryPage;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct sterna.v1.HistoryPage")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<HistoryPage, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut channel__ = None;
                let mut epoch__ = None;
                let mut publications__ = None;
                let mut head_offset__ = None;
                let mut more__ = None;
                let mut epoch_change__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Channel => {
                            if channel__.is_some() {
                                return Err(serde::de::Error::duplicate_field("channel"));
                            }
                            channel__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Epoch => {
                            if epoch__.is_some() {
                                return Err(serde::de::Error::duplicate_field("epoch"));
                            }
                            epoch__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::Publications => {
                            if publications__.is_some() {
                                return Err(serde::de::Error::duplicate_field("publications"));
                            }
                            publications__ = Some(map_.next_value()?);
                        }
                        GeneratedField::HeadOffset => {
                            if head_offset__.is_some() {
                                return Err(serde::de::Error::duplicate_field("headOffset"));
                            }
                            head_offset__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::More => {
                            if more__.is_some() {
                                return Err(serde::de::Error::duplicate_field("more"));
                            }
                            more__ = Some(map_.next_value()?);
                        }
                        GeneratedField::EpochChange => {
                            if epoch_change__.is_some() {
                                return Err(serde::de::Error::duplicate_field("epochChange"));
                            }
                            epoch_change__ = map_.next_value()?;
                        }
                    }
                }
                Ok(HistoryPage {
                    channel: channel__.unwrap_or_default(),
                    epoch: epoch__.unwrap_or_default(),
                    publications: publications__.unwrap_or_default(),
                    head_offset: head_offset__.unwrap_or_default(),
                    more: more__.unwrap_or_default(),
                    epoch_change: epoch_change__,
                })
            }
        }
        deserializer.deserialize_struct("sterna.v1.HistoryPage", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for Inbox {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.entries.is_empty() {
            len += 1;
        }
        if self.position.is_some() {
            len += 1;
        }
        if self.more {
            len += 1;
        }
        if self.start_over {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("sterna.v1.Inbox", len)?;
        if !self.entries.is_empty() {
            struct_ser.serialize_field("entries", &self.entries)?;
        }
        if let Some(v) = self.position.as_ref() {
            struct_ser.serialize_field("position", v)?;
        }
        if self.more {
            struct_ser.serialize_field("more", &self.more)?;
        }
        if self.start_over {
            struct_ser.serialize_field("startOver", &self.start_over)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for Inbox {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "entries",
            "position",
            "more",
            "start_over",
            "startOver",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Entries,
            Position,
            More,
            StartOver,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "entries" => Ok(GeneratedField::Entries),
                            "position" => Ok(GeneratedField::Position),
                            "more" => Ok(GeneratedField::More),
                            "startOver" | "start_over" => Ok(GeneratedField::StartOver),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = Inbox;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct sterna.v1.Inbox")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<Inbox, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut entries__ = None;
                let mut position__ = None;
                let mut more__ = None;
                let mut start_over__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Entries => {
                            if entries__.is_some() {
                                return Err(serde::de::Error::duplicate_field("entries"));
                            }
                            entries__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Position => {
                            if position__.is_some() {
                                return Err(serde::de::Error::duplicate_field("position"));
                            }
                            position__ = map_.next_value()?;
                        }
                        GeneratedField::More => {
                            if more__.is_some() {
                                return Err(serde::de::Error::duplicate_field("more"));
                            }
                            more__ = Some(map_.next_value()?);
                        }
                        GeneratedField::StartOver => {
                            if start_over__.is_some() {
                                return Err(serde::de::Error::duplicate_field("startOver"));
                            }
                            start_over__ = Some(map_.next_value()?);
                        }
                    }
                }
                Ok(Inbox {
                    entries: entries__.unwrap_or_default(),
                    position: position__,
                    more: more__.unwrap_or_default(),
                    start_over: start_over__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("sterna.v1.Inbox", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for InboxEntry {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.channel.is_empty() {
            len += 1;
        }
        if self.kind != 0 {
            len += 1;
        }
        if self.epoch != 0 {
            len += 1;
        }
        if self.head_offset != 0 {
            len += 1;
        }
        if self.last_ts_ms != 0 {
            len += 1;
        }
        if self.read_offset != 0 {
            len += 1;
        }
        if self.unread != 0 {
            len += 1;
        }
        if self.muted {
            len += 1;
        }
        if self.pinned {
            len += 1;
        }
        if self.deleted_before != 0 {
            len += 1;
        }
        if self.removed {
            len += 1;
        }
        if self.left {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("sterna.v1.InboxEntry", len)?;
        if !self.channel.is_empty() {
            struct_ser.serialize_field("channel", &self.channel)?;
        }
        if self.kind != 0 {
            match ChannelKind::try_from(self.kind) {
                Ok(v) => struct_ser.serialize_field("kind", &v)?,
                Err(_) => struct_ser.serialize_field("kind", &self.kind)?,
            }
        }
        if self.epoch != 0 {
            struct_ser.serialize_field("epoch", &self.epoch)?;
        }
        if self.head_offset != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("headOffset", ToString::to_string(&self.head_offset).as_str())?;
        }
        if self.last_ts_ms != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("lastTsMs", ToString::to_string(&self.last_ts_ms).as_str())?;
        }
        if self.read_offset != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("readOffset", ToString::to_string(&self.read_offset).as_str())?;
        }
        if self.unread != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("unread", ToString::to_string(&self.unread).as_str())?;
        }
        if self.muted {
            struct_ser.serialize_field("muted", &self.muted)?;
        }
        if self.pinned {
            struct_ser.serialize_field("pinned", &self.pinned)?;
        }
        if self.deleted_before != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("deletedBefore", ToString::to_string(&self.deleted_before).as_str())?;
        }
        if self.removed {
            struct_ser.serialize_field("removed", &self.removed)?;
        }
        if self.left {
            struct_ser.serialize_field("left", &self.left)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for InboxEntry {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "channel",
            "kind",
            "epoch",
            "head_offset",
            "headOffset",
            "last_ts_ms",
            "lastTsMs",
            "read_offset",
            "readOffset",
            "unread",
            "muted",
            "pinned",
            "deleted_before",
            "deletedBefore",
            "removed",
            "left",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Channel,
            Kind,
            Epoch,
            HeadOffset,
            LastTsMs,
            ReadOffset,
            Unread,
            Muted,
            Pinned,
            DeletedBefore,
            Removed,
            Left,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "channel" => Ok(GeneratedField::Channel),
                            "kind" => Ok(GeneratedField::Kind),
                            "epoch" => Ok(GeneratedField::Epoch),
                            "headOffset" | "head_offset" => Ok(GeneratedField::HeadOffset),
                            "lastTsMs" | "last_ts_ms" => Ok(GeneratedField::LastTsMs),
                            "readOffset" | "read_offset" => Ok(GeneratedField::ReadOffset),
                            "unread" => Ok(GeneratedField::Unread),
                            "muted" => Ok(GeneratedField::Muted),
                            "pinned" => Ok(GeneratedField::Pinned),
                            "deletedBefore" | "deleted_before" => Ok(GeneratedField::DeletedBefore),
                            "removed" => Ok(GeneratedField::Removed),
                            "left" => Ok(GeneratedField::Left),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = InboxEntry;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct sterna.v1.InboxEntry")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<InboxEntry, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut channel__ = None;
                let mut kind__ = None;
                let mut epoch__ = None;
                let mut head_offset__ = None;
                let mut last_ts_ms__ = None;
                let mut read_offset__ = None;
                let mut unread__ = None;
                let mut muted__ = None;
                let mut pinned__ = None;
                let mut deleted_before__ = None;
                let mut removed__ = None;
                let mut left__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Channel => {
                            if channel__.is_some() {
                                return Err(serde::de::Error::duplicate_field("channel"));
                            }
                            channel__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Kind => {
                            if kind__.is_some() {
                                return Err(serde::de::Error::duplicate_field("kind"));
                            }
                            kind__ = Some(map_.next_value::<ChannelKind>()? as i32);
                        }
                        GeneratedField::Epoch => {
                            if epoch__.is_some() {
                                return Err(serde::de::Error::duplicate_field("epoch"));
                            }
                            epoch__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::HeadOffset => {
                            if head_offset__.is_some() {
                                return Err(serde::de::Error::duplicate_field("headOffset"));
                            }
                            head_offset__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::LastTsMs => {
                            if last_ts_ms__.is_some() {
                                return Err(serde::de::Error::duplicate_field("lastTsMs"));
                            }
                            last_ts_ms__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::ReadOffset => {
                            if read_offset__.is_some() {
                                return Err(serde::de::Error::duplicate_field("readOffset"));
                            }
                            read_offset__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::Unread => {
                            if unread__.is_some() {
                                return Err(serde::de::Error::duplicate_field("unread"));
                            }
                            unread__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::Muted => {
                            if muted__.is_some() {
                                return Err(serde::de::Error::duplicate_field("muted"));
                            }
                            muted__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Pinned => {
                            if pinned__.is_some() {
                                return Err(serde::de::Error::duplicate_field("pinned"));
                            }
                            pinned__ = Some(map_.next_value()?);
                        }
                        GeneratedField::DeletedBefore => {
                            if deleted_before__.is_some() {
                                return Err(serde::de::Error::duplicate_field("deletedBefore"));
                            }
                            deleted_before__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::Removed => {
                            if removed__.is_some() {
                                return Err(serde::de::Error::duplicate_field("removed"));
                            }
                            removed__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Left => {
                            if left__.is_some() {
                                return Err(serde::de::Error::duplicate_field("left"));
                            }
                            left__ = Some(map_.next_value()?);
                        }
                    }
                }
                Ok(InboxEntry {
                    channel: channel__.unwrap_or_default(),
                    kind: kind__.unwrap_or_default(),
                    epoch: epoch__.unwrap_or_default(),
                    head_offset: head_offset__.unwrap_or_default(),
                    last_ts_ms: last_ts_ms__.unwrap_or_default(),
                    read_offset: read_offset__.unwrap_or_default(),
                    unread: unread__.unwrap_or_default(),
                    muted: muted__.unwrap_or_default(),
                    pinned: pinned__.unwrap_or_default(),
                    deleted_before: deleted_before__.unwrap_or_default(),
                    removed: removed__.unwrap_or_default(),
                    left: left__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("sterna.v1.InboxEntry", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for InboxPosition {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if self.pts != 0 {
            len += 1;
        }
        if self.looked_ms != 0 {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("sterna.v1.InboxPosition", len)?;
        if self.pts != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("pts", ToString::to_string(&self.pts).as_str())?;
        }
        if self.looked_ms != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("lookedMs", ToString::to_string(&self.looked_ms).as_str())?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for InboxPosition {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "pts",
            "looked_ms",
            "lookedMs",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Pts,
            LookedMs,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "pts" => Ok(GeneratedField::Pts),
                            "lookedMs" | "looked_ms" => Ok(GeneratedField::LookedMs),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = InboxPosition;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct sterna.v1.InboxPosition")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<InboxPosition, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut pts__ = None;
                let mut looked_ms__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Pts => {
                            if pts__.is_some() {
                                return Err(serde::de::Error::duplicate_field("pts"));
                            }
                            pts__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::LookedMs => {
                            if looked_ms__.is_some() {
                                return Err(serde::de::Error::duplicate_field("lookedMs"));
                            }
                            looked_ms__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                    }
                }
                Ok(InboxPosition {
                    pts: pts__.unwrap_or_default(),
                    looked_ms: looked_ms__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("sterna.v1.InboxPosition", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for InboxTouched {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.channel.is_empty() {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("sterna.v1.InboxTouched", len)?;
        if !self.channel.is_empty() {
            struct_ser.serialize_field("channel", &self.channel)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for InboxTouched {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "channel",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Channel,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "channel" => Ok(GeneratedField::Channel),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = InboxTouched;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct sterna.v1.InboxTouched")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<InboxTouched, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut channel__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Channel => {
                            if channel__.is_some() {
                                return Err(serde::de::Error::duplicate_field("channel"));
                            }
                            channel__ = Some(map_.next_value()?);
                        }
                    }
                }
                Ok(InboxTouched {
                    channel: channel__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("sterna.v1.InboxTouched", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for Limits {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if self.frame_bytes != 0 {
            len += 1;
        }
        if self.payload_bytes != 0 {
            len += 1;
        }
        if self.subscriptions != 0 {
            len += 1;
        }
        if self.page_publications != 0 {
            len += 1;
        }
        if self.datagram_bytes != 0 {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("sterna.v1.Limits", len)?;
        if self.frame_bytes != 0 {
            struct_ser.serialize_field("frameBytes", &self.frame_bytes)?;
        }
        if self.payload_bytes != 0 {
            struct_ser.serialize_field("payloadBytes", &self.payload_bytes)?;
        }
        if self.subscriptions != 0 {
            struct_ser.serialize_field("subscriptions", &self.subscriptions)?;
        }
        if self.page_publications != 0 {
            struct_ser.serialize_field("pagePublications", &self.page_publications)?;
        }
        if self.datagram_bytes != 0 {
            struct_ser.serialize_field("datagramBytes", &self.datagram_bytes)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for Limits {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "frame_bytes",
            "frameBytes",
            "payload_bytes",
            "payloadBytes",
            "subscriptions",
            "page_publications",
            "pagePublications",
            "datagram_bytes",
            "datagramBytes",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            FrameBytes,
            PayloadBytes,
            Subscriptions,
            PagePublications,
            DatagramBytes,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "frameBytes" | "frame_bytes" => Ok(GeneratedField::FrameBytes),
                            "payloadBytes" | "payload_bytes" => Ok(GeneratedField::PayloadBytes),
                            "subscriptions" => Ok(GeneratedField::Subscriptions),
                            "pagePublications" | "page_publications" => Ok(GeneratedField::PagePublications),
                            "datagramBytes" | "datagram_bytes" => Ok(GeneratedField::DatagramBytes),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = Limits;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct sterna.v1.Limits")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<Limits, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut frame_bytes__ = None;
                let mut payload_bytes__ = None;
                let mut subscriptions__ = None;
                let mut page_publications__ = None;
                let mut datagram_bytes__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::FrameBytes => {
                            if frame_bytes__.is_some() {
                                return Err(serde::de::Error::duplicate_field("frameBytes"));
                            }
                            frame_bytes__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::PayloadBytes => {
                            if payload_bytes__.is_some() {
                                return Err(serde::de::Error::duplicate_field("payloadBytes"));
                            }
                            payload_bytes__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::Subscriptions => {
                            if subscriptions__.is_some() {
                                return Err(serde::de::Error::duplicate_field("subscriptions"));
                            }
                            subscriptions__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::PagePublications => {
                            if page_publications__.is_some() {
                                return Err(serde::de::Error::duplicate_field("pagePublications"));
                            }
                            page_publications__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::DatagramBytes => {
                            if datagram_bytes__.is_some() {
                                return Err(serde::de::Error::duplicate_field("datagramBytes"));
                            }
                            datagram_bytes__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                    }
                }
                Ok(Limits {
                    frame_bytes: frame_bytes__.unwrap_or_default(),
                    payload_bytes: payload_bytes__.unwrap_or_default(),
                    subscriptions: subscriptions__.unwrap_or_default(),
                    page_publications: page_publications__.unwrap_or_default(),
                    datagram_bytes: datagram_bytes__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("sterna.v1.Limits", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for MarkRead {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.channel.is_empty() {
            len += 1;
        }
        if self.offset != 0 {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("sterna.v1.MarkRead", len)?;
        if !self.channel.is_empty() {
            struct_ser.serialize_field("channel", &self.channel)?;
        }
        if self.offset != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("offset", ToString::to_string(&self.offset).as_str())?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for MarkRead {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "channel",
            "offset",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Channel,
            Offset,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "channel" => Ok(GeneratedField::Channel),
                            "offset" => Ok(GeneratedField::Offset),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = MarkRead;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct sterna.v1.MarkRead")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<MarkRead, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut channel__ = None;
                let mut offset__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Channel => {
                            if channel__.is_some() {
                                return Err(serde::de::Error::duplicate_field("channel"));
                            }
                            channel__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Offset => {
                            if offset__.is_some() {
                                return Err(serde::de::Error::duplicate_field("offset"));
                            }
                            offset__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                    }
                }
                Ok(MarkRead {
                    channel: channel__.unwrap_or_default(),
                    offset: offset__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("sterna.v1.MarkRead", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for Member {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.user.is_empty() {
            len += 1;
        }
        if self.role != 0 {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("sterna.v1.Member", len)?;
        if !self.user.is_empty() {
            struct_ser.serialize_field("user", &self.user)?;
        }
        if self.role != 0 {
            match Role::try_from(self.role) {
                Ok(v) => struct_ser.serialize_field("role", &v)?,
                Err(_) => struct_ser.serialize_field("role", &self.role)?,
            }
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for Member {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "user",
            "role",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            User,
            Role,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "user" => Ok(GeneratedField::User),
                            "role" => Ok(GeneratedField::Role),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = Member;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct sterna.v1.Member")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<Member, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut user__ = None;
                let mut role__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::User => {
                            if user__.is_some() {
                                return Err(serde::de::Error::duplicate_field("user"));
                            }
                            user__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Role => {
                            if role__.is_some() {
                                return Err(serde::de::Error::duplicate_field("role"));
                            }
                            role__ = Some(map_.next_value::<Role>()? as i32);
                        }
                    }
                }
                Ok(Member {
                    user: user__.unwrap_or_default(),
                    role: role__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("sterna.v1.Member", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for MemberList {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.channel.is_empty() {
            len += 1;
        }
        if !self.members.is_empty() {
            len += 1;
        }
        if self.more {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("sterna.v1.MemberList", len)?;
        if !self.channel.is_empty() {
            struct_ser.serialize_field("channel", &self.channel)?;
        }
        if !self.members.is_empty() {
            struct_ser.serialize_field("members", &self.members)?;
        }
        if self.more {
            struct_ser.serialize_field("more", &self.more)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for MemberList {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "channel",
            "members",
            "more",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Channel,
            Members,
            More,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "channel" => Ok(GeneratedField::Channel),
                            "members" => Ok(GeneratedField::Members),
                            "more" => Ok(GeneratedField::More),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = MemberList;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct sterna.v1.MemberList")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<MemberList, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut channel__ = None;
                let mut members__ = None;
                let mut more__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Channel => {
                            if channel__.is_some() {
                                return Err(serde::de::Error::duplicate_field("channel"));
                            }
                            channel__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Members => {
                            if members__.is_some() {
                                return Err(serde::de::Error::duplicate_field("members"));
                            }
                            members__ = Some(map_.next_value()?);
                        }
                        GeneratedField::More => {
                            if more__.is_some() {
                                return Err(serde::de::Error::duplicate_field("more"));
                            }
                            more__ = Some(map_.next_value()?);
                        }
                    }
                }
                Ok(MemberList {
                    channel: channel__.unwrap_or_default(),
                    members: members__.unwrap_or_default(),
                    more: more__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("sterna.v1.MemberList", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for MembersQuery {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.channel.is_empty() {
            len += 1;
        }
        if !self.after_user.is_empty() {
            len += 1;
        }
        if self.limit != 0 {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("sterna.v1.MembersQuery", len)?;
        if !self.channel.is_empty() {
            struct_ser.serialize_field("channel", &self.channel)?;
        }
        if !self.after_user.is_empty() {
            struct_ser.serialize_field("afterUser", &self.after_user)?;
        }
        if self.limit != 0 {
            struct_ser.serialize_field("limit", &self.limit)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for MembersQuery {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "channel",
            "after_user",
            "afterUser",
            "limit",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Channel,
            AfterUser,
            Limit,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "channel" => Ok(GeneratedField::Channel),
                            "afterUser" | "after_user" => Ok(GeneratedField::AfterUser),
                            "limit" => Ok(GeneratedField::Limit),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = MembersQuery;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct sterna.v1.MembersQuery")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<MembersQuery, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut channel__ = None;
                let mut after_user__ = None;
                let mut limit__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Channel => {
                            if channel__.is_some() {
                                return Err(serde::de::Error::duplicate_field("channel"));
                            }
                            channel__ = Some(map_.next_value()?);
                        }
                        GeneratedField::AfterUser => {
                            if after_user__.is_some() {
                                return Err(serde::de::Error::duplicate_field("afterUser"));
                            }
                            after_user__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Limit => {
                            if limit__.is_some() {
                                return Err(serde::de::Error::duplicate_field("limit"));
                            }
                            limit__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                    }
                }
                Ok(MembersQuery {
                    channel: channel__.unwrap_or_default(),
                    after_user: after_user__.unwrap_or_default(),
                    limit: limit__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("sterna.v1.MembersQuery", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for Network {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        let variant = match self {
            Self::Unspecified => "NETWORK_UNSPECIFIED",
            Self::Wifi => "NETWORK_WIFI",
            Self::Cellular => "NETWORK_CELLULAR",
            Self::Ethernet => "NETWORK_ETHERNET",
            Self::Other => "NETWORK_OTHER",
        };
        serializer.serialize_str(variant)
    }
}
impl<'de> serde::Deserialize<'de> for Network {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "NETWORK_UNSPECIFIED",
            "NETWORK_WIFI",
            "NETWORK_CELLULAR",
            "NETWORK_ETHERNET",
            "NETWORK_OTHER",
        ];

        struct GeneratedVisitor;

        impl serde::de::Visitor<'_> for GeneratedVisitor {
            type Value = Network;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(formatter, "expected one of: {:?}", &FIELDS)
            }

            fn visit_i64<E>(self, v: i64) -> std::result::Result<Self::Value, E>
            where
                E: serde::de::Error,
            {
                i32::try_from(v)
                    .ok()
                    .and_then(|x| x.try_into().ok())
                    .ok_or_else(|| {
                        serde::de::Error::invalid_value(serde::de::Unexpected::Signed(v), &self)
                    })
            }

            fn visit_u64<E>(self, v: u64) -> std::result::Result<Self::Value, E>
            where
                E: serde::de::Error,
            {
                i32::try_from(v)
                    .ok()
                    .and_then(|x| x.try_into().ok())
                    .ok_or_else(|| {
                        serde::de::Error::invalid_value(serde::de::Unexpected::Unsigned(v), &self)
                    })
            }

            fn visit_str<E>(self, value: &str) -> std::result::Result<Self::Value, E>
            where
                E: serde::de::Error,
            {
                match value {
                    "NETWORK_UNSPECIFIED" => Ok(Network::Unspecified),
                    "NETWORK_WIFI" => Ok(Network::Wifi),
                    "NETWORK_CELLULAR" => Ok(Network::Cellular),
                    "NETWORK_ETHERNET" => Ok(Network::Ethernet),
                    "NETWORK_OTHER" => Ok(Network::Other),
                    _ => Err(serde::de::Error::unknown_variant(value, FIELDS)),
                }
            }
        }
        deserializer.deserialize_any(GeneratedVisitor)
    }
}
impl serde::Serialize for PathChanged {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.observed_address.is_empty() {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("sterna.v1.PathChanged", len)?;
        if !self.observed_address.is_empty() {
            struct_ser.serialize_field("observedAddress", &self.observed_address)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for PathChanged {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "observed_address",
            "observedAddress",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            ObservedAddress,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "observedAddress" | "observed_address" => Ok(GeneratedField::ObservedAddress),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = PathChanged;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct sterna.v1.PathChanged")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<PathChanged, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut observed_address__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::ObservedAddress => {
                            if observed_address__.is_some() {
                                return Err(serde::de::Error::duplicate_field("observedAddress"));
                            }
                            observed_address__ = Some(map_.next_value()?);
                        }
                    }
                }
                Ok(PathChanged {
                    observed_address: observed_address__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("sterna.v1.PathChanged", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for Ping {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if self.client_time_ms != 0 {
            len += 1;
        }
        if self.network != 0 {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("sterna.v1.Ping", len)?;
        if self.client_time_ms != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("clientTimeMs", ToString::to_string(&self.client_time_ms).as_str())?;
        }
        if self.network != 0 {
            match Network::try_from(self.network) {
                Ok(v) => struct_ser.serialize_field("network", &v)?,
                Err(_) => struct_ser.serialize_field("network", &self.network)?,
            }
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for Ping {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "client_time_ms",
            "clientTimeMs",
            "network",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            ClientTimeMs,
            Network,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "clientTimeMs" | "client_time_ms" => Ok(GeneratedField::ClientTimeMs),
                            "network" => Ok(GeneratedField::Network),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = Ping;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct sterna.v1.Ping")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<Ping, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut client_time_ms__ = None;
                let mut network__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::ClientTimeMs => {
                            if client_time_ms__.is_some() {
                                return Err(serde::de::Error::duplicate_field("clientTimeMs"));
                            }
                            client_time_ms__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::Network => {
                            if network__.is_some() {
                                return Err(serde::de::Error::duplicate_field("network"));
                            }
                            network__ = Some(map_.next_value::<Network>()? as i32);
                        }
                    }
                }
                Ok(Ping {
                    client_time_ms: client_time_ms__.unwrap_or_default(),
                    network: network__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("sterna.v1.Ping", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for Pong {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if self.client_time_ms != 0 {
            len += 1;
        }
        if self.server_time_ms != 0 {
            len += 1;
        }
        if !self.observed_address.is_empty() {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("sterna.v1.Pong", len)?;
        if self.client_time_ms != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("clientTimeMs", ToString::to_string(&self.client_time_ms).as_str())?;
        }
        if self.server_time_ms != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("serverTimeMs", ToString::to_string(&self.server_time_ms).as_str())?;
        }
        if !self.observed_address.is_empty() {
            struct_ser.serialize_field("observedAddress", &self.observed_address)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for Pong {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "client_time_ms",
            "clientTimeMs",
            "server_time_ms",
            "serverTimeMs",
            "observed_address",
            "observedAddress",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            ClientTimeMs,
            ServerTimeMs,
            ObservedAddress,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "clientTimeMs" | "client_time_ms" => Ok(GeneratedField::ClientTimeMs),
                            "serverTimeMs" | "server_time_ms" => Ok(GeneratedField::ServerTimeMs),
                            "observedAddress" | "observed_address" => Ok(GeneratedField::ObservedAddress),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = Pong;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct sterna.v1.Pong")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<Pong, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut client_time_ms__ = None;
                let mut server_time_ms__ = None;
                let mut observed_address__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::ClientTimeMs => {
                            if client_time_ms__.is_some() {
                                return Err(serde::de::Error::duplicate_field("clientTimeMs"));
                            }
                            client_time_ms__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::ServerTimeMs => {
                            if server_time_ms__.is_some() {
                                return Err(serde::de::Error::duplicate_field("serverTimeMs"));
                            }
                            server_time_ms__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::ObservedAddress => {
                            if observed_address__.is_some() {
                                return Err(serde::de::Error::duplicate_field("observedAddress"));
                            }
                            observed_address__ = Some(map_.next_value()?);
                        }
                    }
                }
                Ok(Pong {
                    client_time_ms: client_time_ms__.unwrap_or_default(),
                    server_time_ms: server_time_ms__.unwrap_or_default(),
                    observed_address: observed_address__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("sterna.v1.Pong", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for Position {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if self.epoch != 0 {
            len += 1;
        }
        if self.offset != 0 {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("sterna.v1.Position", len)?;
        if self.epoch != 0 {
            struct_ser.serialize_field("epoch", &self.epoch)?;
        }
        if self.offset != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("offset", ToString::to_string(&self.offset).as_str())?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for Position {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "epoch",
            "offset",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Epoch,
            Offset,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "epoch" => Ok(GeneratedField::Epoch),
                            "offset" => Ok(GeneratedField::Offset),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = Position;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct sterna.v1.Position")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<Position, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut epoch__ = None;
                let mut offset__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Epoch => {
                            if epoch__.is_some() {
                                return Err(serde::de::Error::duplicate_field("epoch"));
                            }
                            epoch__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::Offset => {
                            if offset__.is_some() {
                                return Err(serde::de::Error::duplicate_field("offset"));
                            }
                            offset__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                    }
                }
                Ok(Position {
                    epoch: epoch__.unwrap_or_default(),
                    offset: offset__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("sterna.v1.Position", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for PresenceChange {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.channel.is_empty() {
            len += 1;
        }
        if self.member.is_some() {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("sterna.v1.PresenceChange", len)?;
        if !self.channel.is_empty() {
            struct_ser.serialize_field("channel", &self.channel)?;
        }
        if let Some(v) = self.member.as_ref() {
            struct_ser.serialize_field("member", v)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for PresenceChange {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "channel",
            "member",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Channel,
            Member,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "channel" => Ok(GeneratedField::Channel),
                            "member" => Ok(GeneratedField::Member),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = PresenceChange;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct sterna.v1.PresenceChange")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<PresenceChange, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut channel__ = None;
                let mut member__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Channel => {
                            if channel__.is_some() {
                                return Err(serde::de::Error::duplicate_field("channel"));
                            }
                            channel__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Member => {
                            if member__.is_some() {
                                return Err(serde::de::Error::duplicate_field("member"));
                            }
                            member__ = map_.next_value()?;
                        }
                    }
                }
                Ok(PresenceChange {
                    channel: channel__.unwrap_or_default(),
                    member: member__,
                })
            }
        }
        deserializer.deserialize_struct("sterna.v1.PresenceChange", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for PresenceGap {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.channel.is_empty() {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("sterna.v1.PresenceGap", len)?;
        if !self.channel.is_empty() {
            struct_ser.serialize_field("channel", &self.channel)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for PresenceGap {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "channel",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Channel,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "channel" => Ok(GeneratedField::Channel),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = PresenceGap;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct sterna.v1.PresenceGap")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<PresenceGap, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut channel__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Channel => {
                            if channel__.is_some() {
                                return Err(serde::de::Error::duplicate_field("channel"));
                            }
                            channel__ = Some(map_.next_value()?);
                        }
                    }
                }
                Ok(PresenceGap {
                    channel: channel__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("sterna.v1.PresenceGap", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for PresenceList {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.channel.is_empty() {
            len += 1;
        }
        if !self.members.is_empty() {
            len += 1;
        }
        if self.total != 0 {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("sterna.v1.PresenceList", len)?;
        if !self.channel.is_empty() {
            struct_ser.serialize_field("channel", &self.channel)?;
        }
        if !self.members.is_empty() {
            struct_ser.serialize_field("members", &self.members)?;
        }
        if self.total != 0 {
            struct_ser.serialize_field("total", &self.total)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for PresenceList {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "channel",
            "members",
            "total",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Channel,
            Members,
            Total,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "channel" => Ok(GeneratedField::Channel),
                            "members" => Ok(GeneratedField::Members),
                            "total" => Ok(GeneratedField::Total),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = PresenceList;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct sterna.v1.PresenceList")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<PresenceList, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut channel__ = None;
                let mut members__ = None;
                let mut total__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Channel => {
                            if channel__.is_some() {
                                return Err(serde::de::Error::duplicate_field("channel"));
                            }
                            channel__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Members => {
                            if members__.is_some() {
                                return Err(serde::de::Error::duplicate_field("members"));
                            }
                            members__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Total => {
                            if total__.is_some() {
                                return Err(serde::de::Error::duplicate_field("total"));
                            }
                            total__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                    }
                }
                Ok(PresenceList {
                    channel: channel__.unwrap_or_default(),
                    members: members__.unwrap_or_default(),
                    total: total__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("sterna.v1.PresenceList", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for PresenceMember {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.user.is_empty() {
            len += 1;
        }
        if self.state != 0 {
            len += 1;
        }
        if self.sessions != 0 {
            len += 1;
        }
        if self.since_ms != 0 {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("sterna.v1.PresenceMember", len)?;
        if !self.user.is_empty() {
            struct_ser.serialize_field("user", &self.user)?;
        }
        if self.state != 0 {
            match PresenceState::try_from(self.state) {
                Ok(v) => struct_ser.serialize_field("state", &v)?,
                Err(_) => struct_ser.serialize_field("state", &self.state)?,
            }
        }
        if self.sessions != 0 {
            struct_ser.serialize_field("sessions", &self.sessions)?;
        }
        if self.since_ms != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("sinceMs", ToString::to_string(&self.since_ms).as_str())?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for PresenceMember {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "user",
            "state",
            "sessions",
            "since_ms",
            "sinceMs",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            User,
            State,
            Sessions,
            SinceMs,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "user" => Ok(GeneratedField::User),
                            "state" => Ok(GeneratedField::State),
                            "sessions" => Ok(GeneratedField::Sessions),
                            "sinceMs" | "since_ms" => Ok(GeneratedField::SinceMs),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = PresenceMember;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct sterna.v1.PresenceMember")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<PresenceMember, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut user__ = None;
                let mut state__ = None;
                let mut sessions__ = None;
                let mut since_ms__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::User => {
                            if user__.is_some() {
                                return Err(serde::de::Error::duplicate_field("user"));
                            }
                            user__ = Some(map_.next_value()?);
                        }
                        GeneratedField::State => {
                            if state__.is_some() {
                                return Err(serde::de::Error::duplicate_field("state"));
                            }
                            state__ = Some(map_.next_value::<PresenceState>()? as i32);
                        }
                        GeneratedField::Sessions => {
                            if sessions__.is_some() {
                                return Err(serde::de::Error::duplicate_field("sessions"));
                            }
                            sessions__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::SinceMs => {
                            if since_ms__.is_some() {
                                return Err(serde::de::Error::duplicate_field("sinceMs"));
                            }
                            since_ms__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                    }
                }
                Ok(PresenceMember {
                    user: user__.unwrap_or_default(),
                    state: state__.unwrap_or_default(),
                    sessions: sessions__.unwrap_or_default(),
                    since_ms: since_ms__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("sterna.v1.PresenceMember", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for PresenceQuery {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.channel.is_empty() {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("sterna.v1.PresenceQuery", len)?;
        if !self.channel.is_empty() {
            struct_ser.serialize_field("channel", &self.channel)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for PresenceQuery {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "channel",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Channel,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "channel" => Ok(GeneratedField::Channel),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = PresenceQuery;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct sterna.v1.PresenceQuery")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<PresenceQuery, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut channel__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Channel => {
                            if channel__.is_some() {
                                return Err(serde::de::Error::duplicate_field("channel"));
                            }
                            channel__ = Some(map_.next_value()?);
                        }
                    }
                }
                Ok(PresenceQuery {
                    channel: channel__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("sterna.v1.PresenceQuery", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for PresenceState {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        let variant = match self {
            Self::Offline => "PRESENCE_STATE_OFFLINE",
            Self::Online => "PRESENCE_STATE_ONLINE",
            Self::Roaming => "PRESENCE_STATE_ROAMING",
            Self::Detached => "PRESENCE_STATE_DETACHED",
        };
        serializer.serialize_str(variant)
    }
}
impl<'de> serde::Deserialize<'de> for PresenceState {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "PRESENCE_STATE_OFFLINE",
            "PRESENCE_STATE_ONLINE",
            "PRESENCE_STATE_ROAMING",
            "PRESENCE_STATE_DETACHED",
        ];

        struct GeneratedVisitor;

        impl serde::de::Visitor<'_> for GeneratedVisitor {
            type Value = PresenceState;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(formatter, "expected one of: {:?}", &FIELDS)
            }

            fn visit_i64<E>(self, v: i64) -> std::result::Result<Self::Value, E>
            where
                E: serde::de::Error,
            {
                i32::try_from(v)
                    .ok()
                    .and_then(|x| x.try_into().ok())
                    .ok_or_else(|| {
                        serde::de::Error::invalid_value(serde::de::Unexpected::Signed(v), &self)
                    })
            }

            fn visit_u64<E>(self, v: u64) -> std::result::Result<Self::Value, E>
            where
                E: serde::de::Error,
            {
                i32::try_from(v)
                    .ok()
                    .and_then(|x| x.try_into().ok())
                    .ok_or_else(|| {
                        serde::de::Error::invalid_value(serde::de::Unexpected::Unsigned(v), &self)
                    })
            }

            fn visit_str<E>(self, value: &str) -> std::result::Result<Self::Value, E>
            where
                E: serde::de::Error,
            {
                match value {
                    "PRESENCE_STATE_OFFLINE" => Ok(PresenceState::Offline),
                    "PRESENCE_STATE_ONLINE" => Ok(PresenceState::Online),
                    "PRESENCE_STATE_ROAMING" => Ok(PresenceState::Roaming),
                    "PRESENCE_STATE_DETACHED" => Ok(PresenceState::Detached),
                    _ => Err(serde::de::Error::unknown_variant(value, FIELDS)),
                }
            }
        }
        deserializer.deserialize_any(GeneratedVisitor)
    }
}
impl serde::Serialize for Publication {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.channel.is_empty() {
            len += 1;
        }
        if self.epoch != 0 {
            len += 1;
        }
        if self.offset != 0 {
            len += 1;
        }
        if self.id != 0 {
            len += 1;
        }
        if !self.sender.is_empty() {
            len += 1;
        }
        if !self.payload.is_empty() {
            len += 1;
        }
        if self.server_ts_ms != 0 {
            len += 1;
        }
        if self.client_ts_ms != 0 {
            len += 1;
        }
        if self.kind != 0 {
            len += 1;
        }
        if self.target_offset != 0 {
            len += 1;
        }
        if !self.client_msg_id.is_empty() {
            len += 1;
        }
        if self.member.is_some() {
            len += 1;
        }
        if self.redacted {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("sterna.v1.Publication", len)?;
        if !self.channel.is_empty() {
            struct_ser.serialize_field("channel", &self.channel)?;
        }
        if self.epoch != 0 {
            struct_ser.serialize_field("epoch", &self.epoch)?;
        }
        if self.offset != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("offset", ToString::to_string(&self.offset).as_str())?;
        }
        if self.id != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("id", ToString::to_string(&self.id).as_str())?;
        }
        if !self.sender.is_empty() {
            struct_ser.serialize_field("sender", &self.sender)?;
        }
        if !self.payload.is_empty() {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("payload", pbjson::private::base64::encode(&self.payload).as_str())?;
        }
        if self.server_ts_ms != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("serverTsMs", ToString::to_string(&self.server_ts_ms).as_str())?;
        }
        if self.client_ts_ms != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("clientTsMs", ToString::to_string(&self.client_ts_ms).as_str())?;
        }
        if self.kind != 0 {
            match PublicationKind::try_from(self.kind) {
                Ok(v) => struct_ser.serialize_field("kind", &v)?,
                Err(_) => struct_ser.serialize_field("kind", &self.kind)?,
            }
        }
        if self.target_offset != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("targetOffset", ToString::to_string(&self.target_offset).as_str())?;
        }
        if !self.client_msg_id.is_empty() {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("clientMsgId", pbjson::private::base64::encode(&self.client_msg_id).as_str())?;
        }
        if let Some(v) = self.member.as_ref() {
            struct_ser.serialize_field("member", v)?;
        }
        if self.redacted {
            struct_ser.serialize_field("redacted", &self.redacted)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for Publication {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "channel",
            "epoch",
            "offset",
            "id",
            "sender",
            "payload",
            "server_ts_ms",
            "serverTsMs",
            "client_ts_ms",
            "clientTsMs",
            "kind",
            "target_offset",
            "targetOffset",
            "client_msg_id",
            "clientMsgId",
            "member",
            "redacted",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Channel,
            Epoch,
            Offset,
            Id,
            Sender,
            Payload,
            ServerTsMs,
            ClientTsMs,
            Kind,
            TargetOffset,
            ClientMsgId,
            Member,
            Redacted,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "channel" => Ok(GeneratedField::Channel),
                            "epoch" => Ok(GeneratedField::Epoch),
                            "offset" => Ok(GeneratedField::Offset),
                            "id" => Ok(GeneratedField::Id),
                            "sender" => Ok(GeneratedField::Sender),
                            "payload" => Ok(GeneratedField::Payload),
                            "serverTsMs" | "server_ts_ms" => Ok(GeneratedField::ServerTsMs),
                            "clientTsMs" | "client_ts_ms" => Ok(GeneratedField::ClientTsMs),
                            "kind" => Ok(GeneratedField::Kind),
                            "targetOffset" | "target_offset" => Ok(GeneratedField::TargetOffset),
                            "clientMsgId" | "client_msg_id" => Ok(GeneratedField::ClientMsgId),
                            "member" => Ok(GeneratedField::Member),
                            "redacted" => Ok(GeneratedField::Redacted),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = Publication;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct sterna.v1.Publication")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<Publication, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut channel__ = None;
                let mut epoch__ = None;
                let mut offset__ = None;
                let mut id__ = None;
                let mut sender__ = None;
                let mut payload__ = None;
                let mut server_ts_ms__ = None;
                let mut client_ts_ms__ = None;
                let mut kind__ = None;
                let mut target_offset__ = None;
                let mut client_msg_id__ = None;
                let mut member__ = None;
                let mut redacted__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Channel => {
                            if channel__.is_some() {
                                return Err(serde::de::Error::duplicate_field("channel"));
                            }
                            channel__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Epoch => {
                            if epoch__.is_some() {
                                return Err(serde::de::Error::duplicate_field("epoch"));
                            }
                            epoch__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::Offset => {
                            if offset__.is_some() {
                                return Err(serde::de::Error::duplicate_field("offset"));
                            }
                            offset__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::Id => {
                            if id__.is_some() {
                                return Err(serde::de::Error::duplicate_field("id"));
                            }
                            id__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::Sender => {
                            if sender__.is_some() {
                                return Err(serde::de::Error::duplicate_field("sender"));
                            }
                            sender__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Payload => {
                            if payload__.is_some() {
                                return Err(serde::de::Error::duplicate_field("payload"));
                            }
                            payload__ = 
                                Some(map_.next_value::<::pbjson::private::BytesDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::ServerTsMs => {
                            if server_ts_ms__.is_some() {
                                return Err(serde::de::Error::duplicate_field("serverTsMs"));
                            }
                            server_ts_ms__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::ClientTsMs => {
                            if client_ts_ms__.is_some() {
                                return Err(serde::de::Error::duplicate_field("clientTsMs"));
                            }
                            client_ts_ms__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::Kind => {
                            if kind__.is_some() {
                                return Err(serde::de::Error::duplicate_field("kind"));
                            }
                            kind__ = Some(map_.next_value::<PublicationKind>()? as i32);
                        }
                        GeneratedField::TargetOffset => {
                            if target_offset__.is_some() {
                                return Err(serde::de::Error::duplicate_field("targetOffset"));
                            }
                            target_offset__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::ClientMsgId => {
                            if client_msg_id__.is_some() {
                                return Err(serde::de::Error::duplicate_field("clientMsgId"));
                            }
                            client_msg_id__ = 
                                Some(map_.next_value::<::pbjson::private::BytesDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::Member => {
                            if member__.is_some() {
                                return Err(serde::de::Error::duplicate_field("member"));
                            }
                            member__ = map_.next_value()?;
                        }
                        GeneratedField::Redacted => {
                            if redacted__.is_some() {
                                return Err(serde::de::Error::duplicate_field("redacted"));
                            }
                            redacted__ = Some(map_.next_value()?);
                        }
                    }
                }
                Ok(Publication {
                    channel: channel__.unwrap_or_default(),
                    epoch: epoch__.unwrap_or_default(),
                    offset: offset__.unwrap_or_default(),
                    id: id__.unwrap_or_default(),
                    sender: sender__.unwrap_or_default(),
                    payload: payload__.unwrap_or_default(),
                    server_ts_ms: server_ts_ms__.unwrap_or_default(),
                    client_ts_ms: client_ts_ms__.unwrap_or_default(),
                    kind: kind__.unwrap_or_default(),
                    target_offset: target_offset__.unwrap_or_default(),
                    client_msg_id: client_msg_id__.unwrap_or_default(),
                    member: member__,
                    redacted: redacted__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("sterna.v1.Publication", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for PublicationKind {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        let variant = match self {
            Self::Message => "PUBLICATION_KIND_MESSAGE",
            Self::Edit => "PUBLICATION_KIND_EDIT",
            Self::Recall => "PUBLICATION_KIND_RECALL",
            Self::Reaction => "PUBLICATION_KIND_REACTION",
            Self::Membership => "PUBLICATION_KIND_MEMBERSHIP",
            Self::Epoch => "PUBLICATION_KIND_EPOCH",
            Self::Redaction => "PUBLICATION_KIND_REDACTION",
        };
        serializer.serialize_str(variant)
    }
}
impl<'de> serde::Deserialize<'de> for PublicationKind {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "PUBLICATION_KIND_MESSAGE",
            "PUBLICATION_KIND_EDIT",
            "PUBLICATION_KIND_RECALL",
            "PUBLICATION_KIND_REACTION",
            "PUBLICATION_KIND_MEMBERSHIP",
            "PUBLICATION_KIND_EPOCH",
            "PUBLICATION_KIND_REDACTION",
        ];

        struct GeneratedVisitor;

        impl serde::de::Visitor<'_> for GeneratedVisitor {
            type Value = PublicationKind;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(formatter, "expected one of: {:?}", &FIELDS)
            }

            fn visit_i64<E>(self, v: i64) -> std::result::Result<Self::Value, E>
            where
                E: serde::de::Error,
            {
                i32::try_from(v)
                    .ok()
                    .and_then(|x| x.try_into().ok())
                    .ok_or_else(|| {
                        serde::de::Error::invalid_value(serde::de::Unexpected::Signed(v), &self)
                    })
            }

            fn visit_u64<E>(self, v: u64) -> std::result::Result<Self::Value, E>
            where
                E: serde::de::Error,
            {
                i32::try_from(v)
                    .ok()
                    .and_then(|x| x.try_into().ok())
                    .ok_or_else(|| {
                        serde::de::Error::invalid_value(serde::de::Unexpected::Unsigned(v), &self)
                    })
            }

            fn visit_str<E>(self, value: &str) -> std::result::Result<Self::Value, E>
            where
                E: serde::de::Error,
            {
                match value {
                    "PUBLICATION_KIND_MESSAGE" => Ok(PublicationKind::Message),
                    "PUBLICATION_KIND_EDIT" => Ok(PublicationKind::Edit),
                    "PUBLICATION_KIND_RECALL" => Ok(PublicationKind::Recall),
                    "PUBLICATION_KIND_REACTION" => Ok(PublicationKind::Reaction),
                    "PUBLICATION_KIND_MEMBERSHIP" => Ok(PublicationKind::Membership),
                    "PUBLICATION_KIND_EPOCH" => Ok(PublicationKind::Epoch),
                    "PUBLICATION_KIND_REDACTION" => Ok(PublicationKind::Redaction),
                    _ => Err(serde::de::Error::unknown_variant(value, FIELDS)),
                }
            }
        }
        deserializer.deserialize_any(GeneratedVisitor)
    }
}
impl serde::Serialize for Publish {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.channel.is_empty() {
            len += 1;
        }
        if !self.payload.is_empty() {
            len += 1;
        }
        if self.client_seq != 0 {
            len += 1;
        }
        if !self.client_msg_id.is_empty() {
            len += 1;
        }
        if self.client_ts_ms != 0 {
            len += 1;
        }
        if self.kind != 0 {
            len += 1;
        }
        if self.target_offset != 0 {
            len += 1;
        }
        if self.ordered {
            len += 1;
        }
        if self.settled_below != 0 {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("sterna.v1.Publish", len)?;
        if !self.channel.is_empty() {
            struct_ser.serialize_field("channel", &self.channel)?;
        }
        if !self.payload.is_empty() {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("payload", pbjson::private::base64::encode(&self.payload).as_str())?;
        }
        if self.client_seq != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("clientSeq", ToString::to_string(&self.client_seq).as_str())?;
        }
        if !self.client_msg_id.is_empty() {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("clientMsgId", pbjson::private::base64::encode(&self.client_msg_id).as_str())?;
        }
        if self.client_ts_ms != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("clientTsMs", ToString::to_string(&self.client_ts_ms).as_str())?;
        }
        if self.kind != 0 {
            match PublicationKind::try_from(self.kind) {
                Ok(v) => struct_ser.serialize_field("kind", &v)?,
                Err(_) => struct_ser.serialize_field("kind", &self.kind)?,
            }
        }
        if self.target_offset != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("targetOffset", ToString::to_string(&self.target_offset).as_str())?;
        }
        if self.ordered {
            struct_ser.serialize_field("ordered", &self.ordered)?;
        }
        if self.settled_below != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("settledBelow", ToString::to_string(&self.settled_below).as_str())?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for Publish {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "channel",
            "payload",
            "client_seq",
            "clientSeq",
            "client_msg_id",
            "clientMsgId",
            "client_ts_ms",
            "clientTsMs",
            "kind",
            "target_offset",
            "targetOffset",
            "ordered",
            "settled_below",
            "settledBelow",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Channel,
            Payload,
            ClientSeq,
            ClientMsgId,
            ClientTsMs,
            Kind,
            TargetOffset,
            Ordered,
            SettledBelow,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "channel" => Ok(GeneratedField::Channel),
                            "payload" => Ok(GeneratedField::Payload),
                            "clientSeq" | "client_seq" => Ok(GeneratedField::ClientSeq),
                            "clientMsgId" | "client_msg_id" => Ok(GeneratedField::ClientMsgId),
                            "clientTsMs" | "client_ts_ms" => Ok(GeneratedField::ClientTsMs),
                            "kind" => Ok(GeneratedField::Kind),
                            "targetOffset" | "target_offset" => Ok(GeneratedField::TargetOffset),
                            "ordered" => Ok(GeneratedField::Ordered),
                            "settledBelow" | "settled_below" => Ok(GeneratedField::SettledBelow),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = Publish;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct sterna.v1.Publish")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<Publish, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut channel__ = None;
                let mut payload__ = None;
                let mut client_seq__ = None;
                let mut client_msg_id__ = None;
                let mut client_ts_ms__ = None;
                let mut kind__ = None;
                let mut target_offset__ = None;
                let mut ordered__ = None;
                let mut settled_below__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Channel => {
                            if channel__.is_some() {
                                return Err(serde::de::Error::duplicate_field("channel"));
                            }
                            channel__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Payload => {
                            if payload__.is_some() {
                                return Err(serde::de::Error::duplicate_field("payload"));
                            }
                            payload__ = 
                                Some(map_.next_value::<::pbjson::private::BytesDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::ClientSeq => {
                            if client_seq__.is_some() {
                                return Err(serde::de::Error::duplicate_field("clientSeq"));
                            }
                            client_seq__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::ClientMsgId => {
                            if client_msg_id__.is_some() {
                                return Err(serde::de::Error::duplicate_field("clientMsgId"));
                            }
                            client_msg_id__ = 
                                Some(map_.next_value::<::pbjson::private::BytesDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::ClientTsMs => {
                            if client_ts_ms__.is_some() {
                                return Err(serde::de::Error::duplicate_field("clientTsMs"));
                            }
                            client_ts_ms__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::Kind => {
                            if kind__.is_some() {
                                return Err(serde::de::Error::duplicate_field("kind"));
                            }
                            kind__ = Some(map_.next_value::<PublicationKind>()? as i32);
                        }
                        GeneratedField::TargetOffset => {
                            if target_offset__.is_some() {
                                return Err(serde::de::Error::duplicate_field("targetOffset"));
                            }
                            target_offset__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::Ordered => {
                            if ordered__.is_some() {
                                return Err(serde::de::Error::duplicate_field("ordered"));
                            }
                            ordered__ = Some(map_.next_value()?);
                        }
                        GeneratedField::SettledBelow => {
                            if settled_below__.is_some() {
                                return Err(serde::de::Error::duplicate_field("settledBelow"));
                            }
                            settled_below__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                    }
                }
                Ok(Publish {
                    channel: channel__.unwrap_or_default(),
                    payload: payload__.unwrap_or_default(),
                    client_seq: client_seq__.unwrap_or_default(),
                    client_msg_id: client_msg_id__.unwrap_or_default(),
                    client_ts_ms: client_ts_ms__.unwrap_or_default(),
                    kind: kind__.unwrap_or_default(),
                    target_offset: target_offset__.unwrap_or_default(),
                    ordered: ordered__.unwrap_or_default(),
                    settled_below: settled_below__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("sterna.v1.Publish", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for Published {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.channel.is_empty() {
            len += 1;
        }
        if self.epoch != 0 {
            len += 1;
        }
        if self.offset != 0 {
            len += 1;
        }
        if self.id != 0 {
            len += 1;
        }
        if self.server_ts_ms != 0 {
            len += 1;
        }
        if self.duplicate {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("sterna.v1.Published", len)?;
        if !self.channel.is_empty() {
            struct_ser.serialize_field("channel", &self.channel)?;
        }
        if self.epoch != 0 {
            struct_ser.serialize_field("epoch", &self.epoch)?;
        }
        if self.offset != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("offset", ToString::to_string(&self.offset).as_str())?;
        }
        if self.id != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("id", ToString::to_string(&self.id).as_str())?;
        }
        if self.server_ts_ms != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("serverTsMs", ToString::to_string(&self.server_ts_ms).as_str())?;
        }
        if self.duplicate {
            struct_ser.serialize_field("duplicate", &self.duplicate)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for Published {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "channel",
            "epoch",
            "offset",
            "id",
            "server_ts_ms",
            "serverTsMs",
            "duplicate",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Channel,
            Epoch,
            Offset,
            Id,
            ServerTsMs,
            Duplicate,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "channel" => Ok(GeneratedField::Channel),
                            "epoch" => Ok(GeneratedField::Epoch),
                            "offset" => Ok(GeneratedField::Offset),
                            "id" => Ok(GeneratedField::Id),
                            "serverTsMs" | "server_ts_ms" => Ok(GeneratedField::ServerTsMs),
                            "duplicate" => Ok(GeneratedField::Duplicate),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = Published;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct sterna.v1.Published")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<Published, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut channel__ = None;
                let mut epoch__ = None;
                let mut offset__ = None;
                let mut id__ = None;
                let mut server_ts_ms__ = None;
                let mut duplicate__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Channel => {
                            if channel__.is_some() {
                                return Err(serde::de::Error::duplicate_field("channel"));
                            }
                            channel__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Epoch => {
                            if epoch__.is_some() {
                                return Err(serde::de::Error::duplicate_field("epoch"));
                            }
                            epoch__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::Offset => {
                            if offset__.is_some() {
                                return Err(serde::de::Error::duplicate_field("offset"));
                            }
                            offset__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::Id => {
                            if id__.is_some() {
                                return Err(serde::de::Error::duplicate_field("id"));
                            }
                            id__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::ServerTsMs => {
                            if server_ts_ms__.is_some() {
                                return Err(serde::de::Error::duplicate_field("serverTsMs"));
                            }
                            server_ts_ms__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::Duplicate => {
                            if duplicate__.is_some() {
                                return Err(serde::de::Error::duplicate_field("duplicate"));
                            }
                            duplicate__ = Some(map_.next_value()?);
                        }
                    }
                }
                Ok(Published {
                    channel: channel__.unwrap_or_default(),
                    epoch: epoch__.unwrap_or_default(),
                    offset: offset__.unwrap_or_default(),
                    id: id__.unwrap_or_default(),
                    server_ts_ms: server_ts_ms__.unwrap_or_default(),
                    duplicate: duplicate__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("sterna.v1.Published", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for Push {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if self.event.is_some() {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("sterna.v1.Push", len)?;
        if let Some(v) = self.event.as_ref() {
            match v {
                push::Event::Publication(v) => {
                    struct_ser.serialize_field("publication", v)?;
                }
                push::Event::Ephemeral(v) => {
                    struct_ser.serialize_field("ephemeral", v)?;
                }
                push::Event::Receipt(v) => {
                    struct_ser.serialize_field("receipt", v)?;
                }
                push::Event::Presence(v) => {
                    struct_ser.serialize_field("presence", v)?;
                }
                push::Event::Gap(v) => {
                    struct_ser.serialize_field("gap", v)?;
                }
                push::Event::Head(v) => {
                    struct_ser.serialize_field("head", v)?;
                }
                push::Event::GoAway(v) => {
                    struct_ser.serialize_field("goAway", v)?;
                }
                push::Event::Unsubscribed(v) => {
                    struct_ser.serialize_field("unsubscribed", v)?;
                }
                push::Event::PathChanged(v) => {
                    struct_ser.serialize_field("pathChanged", v)?;
                }
                push::Event::Subscribed(v) => {
                    struct_ser.serialize_field("subscribed", v)?;
                }
                push::Event::InboxTouched(v) => {
                    struct_ser.serialize_field("inboxTouched", v)?;
                }
                push::Event::PresenceGap(v) => {
                    struct_ser.serialize_field("presenceGap", v)?;
                }
            }
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for Push {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "publication",
            "ephemeral",
            "receipt",
            "presence",
            "gap",
            "head",
            "go_away",
            "goAway",
            "unsubscribed",
            "path_changed",
            "pathChanged",
            "subscribed",
            "inbox_touched",
            "inboxTouched",
            "presence_gap",
            "presenceGap",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Publication,
            Ephemeral,
            Receipt,
            Presence,
            Gap,
            Head,
            GoAway,
            Unsubscribed,
            PathChanged,
            Subscribed,
            InboxTouched,
            PresenceGap,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "publication" => Ok(GeneratedField::Publication),
                            "ephemeral" => Ok(GeneratedField::Ephemeral),
                            "receipt" => Ok(GeneratedField::Receipt),
                            "presence" => Ok(GeneratedField::Presence),
                            "gap" => Ok(GeneratedField::Gap),
                            "head" => Ok(GeneratedField::Head),
                            "goAway" | "go_away" => Ok(GeneratedField::GoAway),
                            "unsubscribed" => Ok(GeneratedField::Unsubscribed),
                            "pathChanged" | "path_changed" => Ok(GeneratedField::PathChanged),
                            "subscribed" => Ok(GeneratedField::Subscribed),
                            "inboxTouched" | "inbox_touched" => Ok(GeneratedField::InboxTouched),
                            "presenceGap" | "presence_gap" => Ok(GeneratedField::PresenceGap),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = Push;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct sterna.v1.Push")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<Push, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut event__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Publication => {
                            if event__.is_some() {
                                return Err(serde::de::Error::duplicate_field("publication"));
                            }
                            event__ = map_.next_value::<::std::option::Option<_>>()?.map(push::Event::Publication)
;
                        }
                        GeneratedField::Ephemeral => {
                            if event__.is_some() {
                                return Err(serde::de::Error::duplicate_field("ephemeral"));
                            }
                            event__ = map_.next_value::<::std::option::Option<_>>()?.map(push::Event::Ephemeral)
;
                        }
                        GeneratedField::Receipt => {
                            if event__.is_some() {
                                return Err(serde::de::Error::duplicate_field("receipt"));
                            }
                            event__ = map_.next_value::<::std::option::Option<_>>()?.map(push::Event::Receipt)
;
                        }
                        GeneratedField::Presence => {
                            if event__.is_some() {
                                return Err(serde::de::Error::duplicate_field("presence"));
                            }
                            event__ = map_.next_value::<::std::option::Option<_>>()?.map(push::Event::Presence)
;
                        }
                        GeneratedField::Gap => {
                            if event__.is_some() {
                                return Err(serde::de::Error::duplicate_field("gap"));
                            }
                            event__ = map_.next_value::<::std::option::Option<_>>()?.map(push::Event::Gap)
;
                        }
                        GeneratedField::Head => {
                            if event__.is_some() {
                                return Err(serde::de::Error::duplicate_field("head"));
                            }
                            event__ = map_.next_value::<::std::option::Option<_>>()?.map(push::Event::Head)
;
                        }
                        GeneratedField::GoAway => {
                            if event__.is_some() {
                                return Err(serde::de::Error::duplicate_field("goAway"));
                            }
                            event__ = map_.next_value::<::std::option::Option<_>>()?.map(push::Event::GoAway)
;
                        }
                        GeneratedField::Unsubscribed => {
                            if event__.is_some() {
                                return Err(serde::de::Error::duplicate_field("unsubscribed"));
                            }
                            event__ = map_.next_value::<::std::option::Option<_>>()?.map(push::Event::Unsubscribed)
;
                        }
                        GeneratedField::PathChanged => {
                            if event__.is_some() {
                                return Err(serde::de::Error::duplicate_field("pathChanged"));
                            }
                            event__ = map_.next_value::<::std::option::Option<_>>()?.map(push::Event::PathChanged)
;
                        }
                        GeneratedField::Subscribed => {
                            if event__.is_some() {
                                return Err(serde::de::Error::duplicate_field("subscribed"));
                            }
                            event__ = map_.next_value::<::std::option::Option<_>>()?.map(push::Event::Subscribed)
;
                        }
                        GeneratedField::InboxTouched => {
                            if event__.is_some() {
                                return Err(serde::de::Error::duplicate_field("inboxTouched"));
                            }
                            event__ = map_.next_value::<::std::option::Option<_>>()?.map(push::Event::InboxTouched)
;
                        }
                        GeneratedField::PresenceGap => {
                            if event__.is_some() {
                                return Err(serde::de::Error::duplicate_field("presenceGap"));
                            }
                            event__ = map_.next_value::<::std::option::Option<_>>()?.map(push::Event::PresenceGap)
;
                        }
                    }
                }
                Ok(Push {
                    event: event__,
                })
            }
        }
        deserializer.deserialize_struct("sterna.v1.Push", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for Receipt {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.channel.is_empty() {
            len += 1;
        }
        if !self.user.is_empty() {
            len += 1;
        }
        if self.delivered_offset != 0 {
            len += 1;
        }
        if self.read_offset != 0 {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("sterna.v1.Receipt", len)?;
        if !self.channel.is_empty() {
            struct_ser.serialize_field("channel", &self.channel)?;
        }
        if !self.user.is_empty() {
            struct_ser.serialize_field("user", &self.user)?;
        }
        if self.delivered_offset != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("deliveredOffset", ToString::to_string(&self.delivered_offset).as_str())?;
        }
        if self.read_offset != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("readOffset", ToString::to_string(&self.read_offset).as_str())?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for Receipt {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "channel",
            "user",
            "delivered_offset",
            "deliveredOffset",
            "read_offset",
            "readOffset",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Channel,
            User,
            DeliveredOffset,
            ReadOffset,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "channel" => Ok(GeneratedField::Channel),
                            "user" => Ok(GeneratedField::User),
                            "deliveredOffset" | "delivered_offset" => Ok(GeneratedField::DeliveredOffset),
                            "readOffset" | "read_offset" => Ok(GeneratedField::ReadOffset),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = Receipt;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct sterna.v1.Receipt")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<Receipt, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut channel__ = None;
                let mut user__ = None;
                let mut delivered_offset__ = None;
                let mut read_offset__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Channel => {
                            if channel__.is_some() {
                                return Err(serde::de::Error::duplicate_field("channel"));
                            }
                            channel__ = Some(map_.next_value()?);
                        }
                        GeneratedField::User => {
                            if user__.is_some() {
                                return Err(serde::de::Error::duplicate_field("user"));
                            }
                            user__ = Some(map_.next_value()?);
                        }
                        GeneratedField::DeliveredOffset => {
                            if delivered_offset__.is_some() {
                                return Err(serde::de::Error::duplicate_field("deliveredOffset"));
                            }
                            delivered_offset__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::ReadOffset => {
                            if read_offset__.is_some() {
                                return Err(serde::de::Error::duplicate_field("readOffset"));
                            }
                            read_offset__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                    }
                }
                Ok(Receipt {
                    channel: channel__.unwrap_or_default(),
                    user: user__.unwrap_or_default(),
                    delivered_offset: delivered_offset__.unwrap_or_default(),
                    read_offset: read_offset__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("sterna.v1.Receipt", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for RecoveryOrder {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        let variant = match self {
            Self::OldestFirst => "RECOVERY_ORDER_OLDEST_FIRST",
            Self::NewestFirst => "RECOVERY_ORDER_NEWEST_FIRST",
        };
        serializer.serialize_str(variant)
    }
}
impl<'de> serde::Deserialize<'de> for RecoveryOrder {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "RECOVERY_ORDER_OLDEST_FIRST",
            "RECOVERY_ORDER_NEWEST_FIRST",
        ];

        struct GeneratedVisitor;

        impl serde::de::Visitor<'_> for GeneratedVisitor {
            type Value = RecoveryOrder;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(formatter, "expected one of: {:?}", &FIELDS)
            }

            fn visit_i64<E>(self, v: i64) -> std::result::Result<Self::Value, E>
            where
                E: serde::de::Error,
            {
                i32::try_from(v)
                    .ok()
                    .and_then(|x| x.try_into().ok())
                    .ok_or_else(|| {
                        serde::de::Error::invalid_value(serde::de::Unexpected::Signed(v), &self)
                    })
            }

            fn visit_u64<E>(self, v: u64) -> std::result::Result<Self::Value, E>
            where
                E: serde::de::Error,
            {
                i32::try_from(v)
                    .ok()
                    .and_then(|x| x.try_into().ok())
                    .ok_or_else(|| {
                        serde::de::Error::invalid_value(serde::de::Unexpected::Unsigned(v), &self)
                    })
            }

            fn visit_str<E>(self, value: &str) -> std::result::Result<Self::Value, E>
            where
                E: serde::de::Error,
            {
                match value {
                    "RECOVERY_ORDER_OLDEST_FIRST" => Ok(RecoveryOrder::OldestFirst),
                    "RECOVERY_ORDER_NEWEST_FIRST" => Ok(RecoveryOrder::NewestFirst),
                    _ => Err(serde::de::Error::unknown_variant(value, FIELDS)),
                }
            }
        }
        deserializer.deserialize_any(GeneratedVisitor)
    }
}
impl serde::Serialize for Refresh {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.access_token.is_empty() {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("sterna.v1.Refresh", len)?;
        if !self.access_token.is_empty() {
            struct_ser.serialize_field("accessToken", &self.access_token)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for Refresh {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "access_token",
            "accessToken",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            AccessToken,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "accessToken" | "access_token" => Ok(GeneratedField::AccessToken),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = Refresh;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct sterna.v1.Refresh")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<Refresh, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut access_token__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::AccessToken => {
                            if access_token__.is_some() {
                                return Err(serde::de::Error::duplicate_field("accessToken"));
                            }
                            access_token__ = Some(map_.next_value()?);
                        }
                    }
                }
                Ok(Refresh {
                    access_token: access_token__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("sterna.v1.Refresh", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for RemoveMember {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.channel.is_empty() {
            len += 1;
        }
        if !self.user.is_empty() {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("sterna.v1.RemoveMember", len)?;
        if !self.channel.is_empty() {
            struct_ser.serialize_field("channel", &self.channel)?;
        }
        if !self.user.is_empty() {
            struct_ser.serialize_field("user", &self.user)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for RemoveMember {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "channel",
            "user",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Channel,
            User,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "channel" => Ok(GeneratedField::Channel),
                            "user" => Ok(GeneratedField::User),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = RemoveMember;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct sterna.v1.RemoveMember")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<RemoveMember, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut channel__ = None;
                let mut user__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Channel => {
                            if channel__.is_some() {
                                return Err(serde::de::Error::duplicate_field("channel"));
                            }
                            channel__ = Some(map_.next_value()?);
                        }
                        GeneratedField::User => {
                            if user__.is_some() {
                                return Err(serde::de::Error::duplicate_field("user"));
                            }
                            user__ = Some(map_.next_value()?);
                        }
                    }
                }
                Ok(RemoveMember {
                    channel: channel__.unwrap_or_default(),
                    user: user__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("sterna.v1.RemoveMember", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for Reply {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if self.id != 0 {
            len += 1;
        }
        if self.result.is_some() {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("sterna.v1.Reply", len)?;
        if self.id != 0 {
            struct_ser.serialize_field("id", &self.id)?;
        }
        if let Some(v) = self.result.as_ref() {
            match v {
                reply::Result::Error(v) => {
                    struct_ser.serialize_field("error", v)?;
                }
                reply::Result::Welcome(v) => {
                    struct_ser.serialize_field("welcome", v)?;
                }
                reply::Result::Published(v) => {
                    struct_ser.serialize_field("published", v)?;
                }
                reply::Result::Subscribed(v) => {
                    struct_ser.serialize_field("subscribed", v)?;
                }
                reply::Result::Done(v) => {
                    struct_ser.serialize_field("done", v)?;
                }
                reply::Result::History(v) => {
                    struct_ser.serialize_field("history", v)?;
                }
                reply::Result::Presence(v) => {
                    struct_ser.serialize_field("presence", v)?;
                }
                reply::Result::Pong(v) => {
                    struct_ser.serialize_field("pong", v)?;
                }
                reply::Result::Channel(v) => {
                    struct_ser.serialize_field("channel", v)?;
                }
                reply::Result::Members(v) => {
                    struct_ser.serialize_field("members", v)?;
                }
                reply::Result::Inbox(v) => {
                    struct_ser.serialize_field("inbox", v)?;
                }
            }
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for Reply {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "id",
            "error",
            "welcome",
            "published",
            "subscribed",
            "done",
            "history",
            "presence",
            "pong",
            "channel",
            "members",
            "inbox",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Id,
            Error,
            Welcome,
            Published,
            Subscribed,
            Done,
            History,
            Presence,
            Pong,
            Channel,
            Members,
            Inbox,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "id" => Ok(GeneratedField::Id),
                            "error" => Ok(GeneratedField::Error),
                            "welcome" => Ok(GeneratedField::Welcome),
                            "published" => Ok(GeneratedField::Published),
                            "subscribed" => Ok(GeneratedField::Subscribed),
                            "done" => Ok(GeneratedField::Done),
                            "history" => Ok(GeneratedField::History),
                            "presence" => Ok(GeneratedField::Presence),
                            "pong" => Ok(GeneratedField::Pong),
                            "channel" => Ok(GeneratedField::Channel),
                            "members" => Ok(GeneratedField::Members),
                            "inbox" => Ok(GeneratedField::Inbox),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = Reply;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct sterna.v1.Reply")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<Reply, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut id__ = None;
                let mut result__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Id => {
                            if id__.is_some() {
                                return Err(serde::de::Error::duplicate_field("id"));
                            }
                            id__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::Error => {
                            if result__.is_some() {
                                return Err(serde::de::Error::duplicate_field("error"));
                            }
                            result__ = map_.next_value::<::std::option::Option<_>>()?.map(reply::Result::Error)
;
                        }
                        GeneratedField::Welcome => {
                            if result__.is_some() {
                                return Err(serde::de::Error::duplicate_field("welcome"));
                            }
                            result__ = map_.next_value::<::std::option::Option<_>>()?.map(reply::Result::Welcome)
;
                        }
                        GeneratedField::Published => {
                            if result__.is_some() {
                                return Err(serde::de::Error::duplicate_field("published"));
                            }
                            result__ = map_.next_value::<::std::option::Option<_>>()?.map(reply::Result::Published)
;
                        }
                        GeneratedField::Subscribed => {
                            if result__.is_some() {
                                return Err(serde::de::Error::duplicate_field("subscribed"));
                            }
                            result__ = map_.next_value::<::std::option::Option<_>>()?.map(reply::Result::Subscribed)
;
                        }
                        GeneratedField::Done => {
                            if result__.is_some() {
                                return Err(serde::de::Error::duplicate_field("done"));
                            }
                            result__ = map_.next_value::<::std::option::Option<_>>()?.map(reply::Result::Done)
;
                        }
                        GeneratedField::History => {
                            if result__.is_some() {
                                return Err(serde::de::Error::duplicate_field("history"));
                            }
                            result__ = map_.next_value::<::std::option::Option<_>>()?.map(reply::Result::History)
;
                        }
                        GeneratedField::Presence => {
                            if result__.is_some() {
                                return Err(serde::de::Error::duplicate_field("presence"));
                            }
                            result__ = map_.next_value::<::std::option::Option<_>>()?.map(reply::Result::Presence)
;
                        }
                        GeneratedField::Pong => {
                            if result__.is_some() {
                                return Err(serde::de::Error::duplicate_field("pong"));
                            }
                            result__ = map_.next_value::<::std::option::Option<_>>()?.map(reply::Result::Pong)
;
                        }
                        GeneratedField::Channel => {
                            if result__.is_some() {
                                return Err(serde::de::Error::duplicate_field("channel"));
                            }
                            result__ = map_.next_value::<::std::option::Option<_>>()?.map(reply::Result::Channel)
;
                        }
                        GeneratedField::Members => {
                            if result__.is_some() {
                                return Err(serde::de::Error::duplicate_field("members"));
                            }
                            result__ = map_.next_value::<::std::option::Option<_>>()?.map(reply::Result::Members)
;
                        }
                        GeneratedField::Inbox => {
                            if result__.is_some() {
                                return Err(serde::de::Error::duplicate_field("inbox"));
                            }
                            result__ = map_.next_value::<::std::option::Option<_>>()?.map(reply::Result::Inbox)
;
                        }
                    }
                }
                Ok(Reply {
                    id: id__.unwrap_or_default(),
                    result: result__,
                })
            }
        }
        deserializer.deserialize_struct("sterna.v1.Reply", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for Role {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        let variant = match self {
            Self::Unspecified => "ROLE_UNSPECIFIED",
            Self::Reader => "ROLE_READER",
            Self::Member => "ROLE_MEMBER",
            Self::Admin => "ROLE_ADMIN",
            Self::Owner => "ROLE_OWNER",
        };
        serializer.serialize_str(variant)
    }
}
impl<'de> serde::Deserialize<'de> for Role {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "ROLE_UNSPECIFIED",
            "ROLE_READER",
            "ROLE_MEMBER",
            "ROLE_ADMIN",
            "ROLE_OWNER",
        ];

        struct GeneratedVisitor;

        impl serde::de::Visitor<'_> for GeneratedVisitor {
            type Value = Role;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(formatter, "expected one of: {:?}", &FIELDS)
            }

            fn visit_i64<E>(self, v: i64) -> std::result::Result<Self::Value, E>
            where
                E: serde::de::Error,
            {
                i32::try_from(v)
                    .ok()
                    .and_then(|x| x.try_into().ok())
                    .ok_or_else(|| {
                        serde::de::Error::invalid_value(serde::de::Unexpected::Signed(v), &self)
                    })
            }

            fn visit_u64<E>(self, v: u64) -> std::result::Result<Self::Value, E>
            where
                E: serde::de::Error,
            {
                i32::try_from(v)
                    .ok()
                    .and_then(|x| x.try_into().ok())
                    .ok_or_else(|| {
                        serde::de::Error::invalid_value(serde::de::Unexpected::Unsigned(v), &self)
                    })
            }

            fn visit_str<E>(self, value: &str) -> std::result::Result<Self::Value, E>
            where
                E: serde::de::Error,
            {
                match value {
                    "ROLE_UNSPECIFIED" => Ok(Role::Unspecified),
                    "ROLE_READER" => Ok(Role::Reader),
                    "ROLE_MEMBER" => Ok(Role::Member),
                    "ROLE_ADMIN" => Ok(Role::Admin),
                    "ROLE_OWNER" => Ok(Role::Owner),
                    _ => Err(serde::de::Error::unknown_variant(value, FIELDS)),
                }
            }
        }
        deserializer.deserialize_any(GeneratedVisitor)
    }
}
impl serde::Serialize for SetActivity {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.channel.is_empty() {
            len += 1;
        }
        if self.activity != 0 {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("sterna.v1.SetActivity", len)?;
        if !self.channel.is_empty() {
            struct_ser.serialize_field("channel", &self.channel)?;
        }
        if self.activity != 0 {
            match Activity::try_from(self.activity) {
                Ok(v) => struct_ser.serialize_field("activity", &v)?,
                Err(_) => struct_ser.serialize_field("activity", &self.activity)?,
            }
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for SetActivity {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "channel",
            "activity",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Channel,
            Activity,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "channel" => Ok(GeneratedField::Channel),
                            "activity" => Ok(GeneratedField::Activity),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = SetActivity;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct sterna.v1.SetActivity")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<SetActivity, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut channel__ = None;
                let mut activity__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Channel => {
                            if channel__.is_some() {
                                return Err(serde::de::Error::duplicate_field("channel"));
                            }
                            channel__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Activity => {
                            if activity__.is_some() {
                                return Err(serde::de::Error::duplicate_field("activity"));
                            }
                            activity__ = Some(map_.next_value::<Activity>()? as i32);
                        }
                    }
                }
                Ok(SetActivity {
                    channel: channel__.unwrap_or_default(),
                    activity: activity__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("sterna.v1.SetActivity", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for SetMember {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.channel.is_empty() {
            len += 1;
        }
        if self.member.is_some() {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("sterna.v1.SetMember", len)?;
        if !self.channel.is_empty() {
            struct_ser.serialize_field("channel", &self.channel)?;
        }
        if let Some(v) = self.member.as_ref() {
            struct_ser.serialize_field("member", v)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for SetMember {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "channel",
            "member",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Channel,
            Member,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "channel" => Ok(GeneratedField::Channel),
                            "member" => Ok(GeneratedField::Member),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = SetMember;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct sterna.v1.SetMember")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<SetMember, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut channel__ = None;
                let mut member__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Channel => {
                            if channel__.is_some() {
                                return Err(serde::de::Error::duplicate_field("channel"));
                            }
                            channel__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Member => {
                            if member__.is_some() {
                                return Err(serde::de::Error::duplicate_field("member"));
                            }
                            member__ = map_.next_value()?;
                        }
                    }
                }
                Ok(SetMember {
                    channel: channel__.unwrap_or_default(),
                    member: member__,
                })
            }
        }
        deserializer.deserialize_struct("sterna.v1.SetMember", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for Subscribe {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.channel.is_empty() {
            len += 1;
        }
        if self.since.is_some() {
            len += 1;
        }
        if self.order != 0 {
            len += 1;
        }
        if self.presence {
            len += 1;
        }
        if self.receipts {
            len += 1;
        }
        if self.page_publications != 0 {
            len += 1;
        }
        if self.activity != 0 {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("sterna.v1.Subscribe", len)?;
        if !self.channel.is_empty() {
            struct_ser.serialize_field("channel", &self.channel)?;
        }
        if let Some(v) = self.since.as_ref() {
            struct_ser.serialize_field("since", v)?;
        }
        if self.order != 0 {
            match RecoveryOrder::try_from(self.order) {
                Ok(v) => struct_ser.serialize_field("order", &v)?,
                Err(_) => struct_ser.serialize_field("order", &self.order)?,
            }
        }
        if self.presence {
            struct_ser.serialize_field("presence", &self.presence)?;
        }
        if self.receipts {
            struct_ser.serialize_field("receipts", &self.receipts)?;
        }
        if self.page_publications != 0 {
            struct_ser.serialize_field("pagePublications", &self.page_publications)?;
        }
        if self.activity != 0 {
            match Activity::try_from(self.activity) {
                Ok(v) => struct_ser.serialize_field("activity", &v)?,
                Err(_) => struct_ser.serialize_field("activity", &self.activity)?,
            }
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for Subscribe {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "channel",
            "since",
            "order",
            "presence",
            "receipts",
            "page_publications",
            "pagePublications",
            "activity",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Channel,
            Since,
            Order,
            Presence,
            Receipts,
            PagePublications,
            Activity,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "channel" => Ok(GeneratedField::Channel),
                            "since" => Ok(GeneratedField::Since),
                            "order" => Ok(GeneratedField::Order),
                            "presence" => Ok(GeneratedField::Presence),
                            "receipts" => Ok(GeneratedField::Receipts),
                            "pagePublications" | "page_publications" => Ok(GeneratedField::PagePublications),
                            "activity" => Ok(GeneratedField::Activity),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = Subscribe;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct sterna.v1.Subscribe")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<Subscribe, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut channel__ = None;
                let mut since__ = None;
                let mut order__ = None;
                let mut presence__ = None;
                let mut receipts__ = None;
                let mut page_publications__ = None;
                let mut activity__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Channel => {
                            if channel__.is_some() {
                                return Err(serde::de::Error::duplicate_field("channel"));
                            }
                            channel__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Since => {
                            if since__.is_some() {
                                return Err(serde::de::Error::duplicate_field("since"));
                            }
                            since__ = map_.next_value()?;
                        }
                        GeneratedField::Order => {
                            if order__.is_some() {
                                return Err(serde::de::Error::duplicate_field("order"));
                            }
                            order__ = Some(map_.next_value::<RecoveryOrder>()? as i32);
                        }
                        GeneratedField::Presence => {
                            if presence__.is_some() {
                                return Err(serde::de::Error::duplicate_field("presence"));
                            }
                            presence__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Receipts => {
                            if receipts__.is_some() {
                                return Err(serde::de::Error::duplicate_field("receipts"));
                            }
                            receipts__ = Some(map_.next_value()?);
                        }
                        GeneratedField::PagePublications => {
                            if page_publications__.is_some() {
                                return Err(serde::de::Error::duplicate_field("pagePublications"));
                            }
                            page_publications__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::Activity => {
                            if activity__.is_some() {
                                return Err(serde::de::Error::duplicate_field("activity"));
                            }
                            activity__ = Some(map_.next_value::<Activity>()? as i32);
                        }
                    }
                }
                Ok(Subscribe {
                    channel: channel__.unwrap_or_default(),
                    since: since__,
                    order: order__.unwrap_or_default(),
                    presence: presence__.unwrap_or_default(),
                    receipts: receipts__.unwrap_or_default(),
                    page_publications: page_publications__.unwrap_or_default(),
                    activity: activity__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("sterna.v1.Subscribe", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for Subscribed {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.channel.is_empty() {
            len += 1;
        }
        if self.position.is_some() {
            len += 1;
        }
        if !self.publications.is_empty() {
            len += 1;
        }
        if self.live {
            len += 1;
        }
        if self.head_offset != 0 {
            len += 1;
        }
        if self.gap.is_some() {
            len += 1;
        }
        if self.epoch_change.is_some() {
            len += 1;
        }
        if self.error.is_some() {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("sterna.v1.Subscribed", len)?;
        if !self.channel.is_empty() {
            struct_ser.serialize_field("channel", &self.channel)?;
        }
        if let Some(v) = self.position.as_ref() {
            struct_ser.serialize_field("position", v)?;
        }
        if !self.publications.is_empty() {
            struct_ser.serialize_field("publications", &self.publications)?;
        }
        if self.live {
            struct_ser.serialize_field("live", &self.live)?;
        }
        if self.head_offset != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("headOffset", ToString::to_string(&self.head_offset).as_str())?;
        }
        if let Some(v) = self.gap.as_ref() {
            struct_ser.serialize_field("gap", v)?;
        }
        if let Some(v) = self.epoch_change.as_ref() {
            struct_ser.serialize_field("epochChange", v)?;
        }
        if let Some(v) = self.error.as_ref() {
            struct_ser.serialize_field("error", v)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for Subscribed {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "channel",
            "position",
            "publications",
            "live",
            "head_offset",
            "headOffset",
            "gap",
            "epoch_change",
            "epochChange",
            "error",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Channel,
            Position,
            Publications,
            Live,
            HeadOffset,
            Gap,
            EpochChange,
            Error,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "channel" => Ok(GeneratedField::Channel),
                            "position" => Ok(GeneratedField::Position),
                            "publications" => Ok(GeneratedField::Publications),
                            "live" => Ok(GeneratedField::Live),
                            "headOffset" | "head_offset" => Ok(GeneratedField::HeadOffset),
                            "gap" => Ok(GeneratedField::Gap),
                            "epochChange" | "epoch_change" => Ok(GeneratedField::EpochChange),
                            "error" => Ok(GeneratedField::Error),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = Subscribed;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct sterna.v1.Subscribed")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<Subscribed, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut channel__ = None;
                let mut position__ = None;
                let mut publications__ = None;
                let mut live__ = None;
                let mut head_offset__ = None;
                let mut gap__ = None;
                let mut epoch_change__ = None;
                let mut error__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Channel => {
                            if channel__.is_some() {
                                return Err(serde::de::Error::duplicate_field("channel"));
                            }
                            channel__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Position => {
                            if position__.is_some() {
                                return Err(serde::de::Error::duplicate_field("position"));
                            }
                            position__ = map_.next_value()?;
                        }
                        GeneratedField::Publications => {
                            if publications__.is_some() {
                                return Err(serde::de::Error::duplicate_field("publications"));
                            }
                            publications__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Live => {
                            if live__.is_some() {
                                return Err(serde::de::Error::duplicate_field("live"));
                            }
                            live__ = Some(map_.next_value()?);
                        }
                        GeneratedField::HeadOffset => {
                            if head_offset__.is_some() {
                                return Err(serde::de::Error::duplicate_field("headOffset"));
                            }
                            head_offset__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::Gap => {
                            if gap__.is_some() {
                                return Err(serde::de::Error::duplicate_field("gap"));
                            }
                            gap__ = map_.next_value()?;
                        }
                        GeneratedField::EpochChange => {
                            if epoch_change__.is_some() {
                                return Err(serde::de::Error::duplicate_field("epochChange"));
                            }
                            epoch_change__ = map_.next_value()?;
                        }
                        GeneratedField::Error => {
                            if error__.is_some() {
                                return Err(serde::de::Error::duplicate_field("error"));
                            }
                            error__ = map_.next_value()?;
                        }
                    }
                }
                Ok(Subscribed {
                    channel: channel__.unwrap_or_default(),
                    position: position__,
                    publications: publications__.unwrap_or_default(),
                    live: live__.unwrap_or_default(),
                    head_offset: head_offset__.unwrap_or_default(),
                    gap: gap__,
                    epoch_change: epoch_change__,
                    error: error__,
                })
            }
        }
        deserializer.deserialize_struct("sterna.v1.Subscribed", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for Sync {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if self.since.is_some() {
            len += 1;
        }
        if self.limit != 0 {
            len += 1;
        }
        if self.live {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("sterna.v1.Sync", len)?;
        if let Some(v) = self.since.as_ref() {
            struct_ser.serialize_field("since", v)?;
        }
        if self.limit != 0 {
            struct_ser.serialize_field("limit", &self.limit)?;
        }
        if self.live {
            struct_ser.serialize_field("live", &self.live)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for Sync {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "since",
            "limit",
            "live",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Since,
            Limit,
            Live,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "since" => Ok(GeneratedField::Since),
                            "limit" => Ok(GeneratedField::Limit),
                            "live" => Ok(GeneratedField::Live),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = Sync;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct sterna.v1.Sync")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<Sync, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut since__ = None;
                let mut limit__ = None;
                let mut live__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Since => {
                            if since__.is_some() {
                                return Err(serde::de::Error::duplicate_field("since"));
                            }
                            since__ = map_.next_value()?;
                        }
                        GeneratedField::Limit => {
                            if limit__.is_some() {
                                return Err(serde::de::Error::duplicate_field("limit"));
                            }
                            limit__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::Live => {
                            if live__.is_some() {
                                return Err(serde::de::Error::duplicate_field("live"));
                            }
                            live__ = Some(map_.next_value()?);
                        }
                    }
                }
                Ok(Sync {
                    since: since__,
                    limit: limit__.unwrap_or_default(),
                    live: live__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("sterna.v1.Sync", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for Unsubscribe {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.channel.is_empty() {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("sterna.v1.Unsubscribe", len)?;
        if !self.channel.is_empty() {
            struct_ser.serialize_field("channel", &self.channel)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for Unsubscribe {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "channel",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Channel,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "channel" => Ok(GeneratedField::Channel),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = Unsubscribe;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct sterna.v1.Unsubscribe")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<Unsubscribe, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut channel__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Channel => {
                            if channel__.is_some() {
                                return Err(serde::de::Error::duplicate_field("channel"));
                            }
                            channel__ = Some(map_.next_value()?);
                        }
                    }
                }
                Ok(Unsubscribe {
                    channel: channel__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("sterna.v1.Unsubscribe", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for Unsubscribed {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.channel.is_empty() {
            len += 1;
        }
        if self.error.is_some() {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("sterna.v1.Unsubscribed", len)?;
        if !self.channel.is_empty() {
            struct_ser.serialize_field("channel", &self.channel)?;
        }
        if let Some(v) = self.error.as_ref() {
            struct_ser.serialize_field("error", v)?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for Unsubscribed {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "channel",
            "error",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            Channel,
            Error,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "channel" => Ok(GeneratedField::Channel),
                            "error" => Ok(GeneratedField::Error),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = Unsubscribed;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct sterna.v1.Unsubscribed")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<Unsubscribed, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut channel__ = None;
                let mut error__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::Channel => {
                            if channel__.is_some() {
                                return Err(serde::de::Error::duplicate_field("channel"));
                            }
                            channel__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Error => {
                            if error__.is_some() {
                                return Err(serde::de::Error::duplicate_field("error"));
                            }
                            error__ = map_.next_value()?;
                        }
                    }
                }
                Ok(Unsubscribed {
                    channel: channel__.unwrap_or_default(),
                    error: error__,
                })
            }
        }
        deserializer.deserialize_struct("sterna.v1.Unsubscribed", FIELDS, GeneratedVisitor)
    }
}
impl serde::Serialize for Welcome {
    #[allow(deprecated)]
    fn serialize<S>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error>
    where
        S: serde::Serializer,
    {
        use serde::ser::SerializeStruct;
        let mut len = 0;
        if !self.session_id.is_empty() {
            len += 1;
        }
        if !self.resume_ticket.is_empty() {
            len += 1;
        }
        if self.resume_window_ms != 0 {
            len += 1;
        }
        if !self.user.is_empty() {
            len += 1;
        }
        if !self.observed_address.is_empty() {
            len += 1;
        }
        if self.heartbeat_ms != 0 {
            len += 1;
        }
        if self.limits.is_some() {
            len += 1;
        }
        if self.durability != 0 {
            len += 1;
        }
        if self.server_time_ms != 0 {
            len += 1;
        }
        if self.resumed {
            len += 1;
        }
        if !self.node.is_empty() {
            len += 1;
        }
        if self.token_expires_at_ms != 0 {
            len += 1;
        }
        let mut struct_ser = serializer.serialize_struct("sterna.v1.Welcome", len)?;
        if !self.session_id.is_empty() {
            struct_ser.serialize_field("sessionId", &self.session_id)?;
        }
        if !self.resume_ticket.is_empty() {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("resumeTicket", pbjson::private::base64::encode(&self.resume_ticket).as_str())?;
        }
        if self.resume_window_ms != 0 {
            struct_ser.serialize_field("resumeWindowMs", &self.resume_window_ms)?;
        }
        if !self.user.is_empty() {
            struct_ser.serialize_field("user", &self.user)?;
        }
        if !self.observed_address.is_empty() {
            struct_ser.serialize_field("observedAddress", &self.observed_address)?;
        }
        if self.heartbeat_ms != 0 {
            struct_ser.serialize_field("heartbeatMs", &self.heartbeat_ms)?;
        }
        if let Some(v) = self.limits.as_ref() {
            struct_ser.serialize_field("limits", v)?;
        }
        if self.durability != 0 {
            match Durability::try_from(self.durability) {
                Ok(v) => struct_ser.serialize_field("durability", &v)?,
                Err(_) => struct_ser.serialize_field("durability", &self.durability)?,
            }
        }
        if self.server_time_ms != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("serverTimeMs", ToString::to_string(&self.server_time_ms).as_str())?;
        }
        if self.resumed {
            struct_ser.serialize_field("resumed", &self.resumed)?;
        }
        if !self.node.is_empty() {
            struct_ser.serialize_field("node", &self.node)?;
        }
        if self.token_expires_at_ms != 0 {
            #[allow(clippy::needless_borrow)]
            #[allow(clippy::needless_borrows_for_generic_args)]
            struct_ser.serialize_field("tokenExpiresAtMs", ToString::to_string(&self.token_expires_at_ms).as_str())?;
        }
        struct_ser.end()
    }
}
impl<'de> serde::Deserialize<'de> for Welcome {
    #[allow(deprecated)]
    fn deserialize<D>(deserializer: D) -> std::result::Result<Self, D::Error>
    where
        D: serde::Deserializer<'de>,
    {
        const FIELDS: &[&str] = &[
            "session_id",
            "sessionId",
            "resume_ticket",
            "resumeTicket",
            "resume_window_ms",
            "resumeWindowMs",
            "user",
            "observed_address",
            "observedAddress",
            "heartbeat_ms",
            "heartbeatMs",
            "limits",
            "durability",
            "server_time_ms",
            "serverTimeMs",
            "resumed",
            "node",
            "token_expires_at_ms",
            "tokenExpiresAtMs",
        ];

        #[allow(clippy::enum_variant_names)]
        enum GeneratedField {
            SessionId,
            ResumeTicket,
            ResumeWindowMs,
            User,
            ObservedAddress,
            HeartbeatMs,
            Limits,
            Durability,
            ServerTimeMs,
            Resumed,
            Node,
            TokenExpiresAtMs,
        }
        impl<'de> serde::Deserialize<'de> for GeneratedField {
            fn deserialize<D>(deserializer: D) -> std::result::Result<GeneratedField, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                struct GeneratedVisitor;

                impl serde::de::Visitor<'_> for GeneratedVisitor {
                    type Value = GeneratedField;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(formatter, "expected one of: {:?}", &FIELDS)
                    }

                    #[allow(unused_variables)]
                    fn visit_str<E>(self, value: &str) -> std::result::Result<GeneratedField, E>
                    where
                        E: serde::de::Error,
                    {
                        match value {
                            "sessionId" | "session_id" => Ok(GeneratedField::SessionId),
                            "resumeTicket" | "resume_ticket" => Ok(GeneratedField::ResumeTicket),
                            "resumeWindowMs" | "resume_window_ms" => Ok(GeneratedField::ResumeWindowMs),
                            "user" => Ok(GeneratedField::User),
                            "observedAddress" | "observed_address" => Ok(GeneratedField::ObservedAddress),
                            "heartbeatMs" | "heartbeat_ms" => Ok(GeneratedField::HeartbeatMs),
                            "limits" => Ok(GeneratedField::Limits),
                            "durability" => Ok(GeneratedField::Durability),
                            "serverTimeMs" | "server_time_ms" => Ok(GeneratedField::ServerTimeMs),
                            "resumed" => Ok(GeneratedField::Resumed),
                            "node" => Ok(GeneratedField::Node),
                            "tokenExpiresAtMs" | "token_expires_at_ms" => Ok(GeneratedField::TokenExpiresAtMs),
                            _ => Err(serde::de::Error::unknown_field(value, FIELDS)),
                        }
                    }
                }
                deserializer.deserialize_identifier(GeneratedVisitor)
            }
        }
        struct GeneratedVisitor;
        impl<'de> serde::de::Visitor<'de> for GeneratedVisitor {
            type Value = Welcome;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("struct sterna.v1.Welcome")
            }

            fn visit_map<V>(self, mut map_: V) -> std::result::Result<Welcome, V::Error>
                where
                    V: serde::de::MapAccess<'de>,
            {
                let mut session_id__ = None;
                let mut resume_ticket__ = None;
                let mut resume_window_ms__ = None;
                let mut user__ = None;
                let mut observed_address__ = None;
                let mut heartbeat_ms__ = None;
                let mut limits__ = None;
                let mut durability__ = None;
                let mut server_time_ms__ = None;
                let mut resumed__ = None;
                let mut node__ = None;
                let mut token_expires_at_ms__ = None;
                while let Some(k) = map_.next_key()? {
                    match k {
                        GeneratedField::SessionId => {
                            if session_id__.is_some() {
                                return Err(serde::de::Error::duplicate_field("sessionId"));
                            }
                            session_id__ = Some(map_.next_value()?);
                        }
                        GeneratedField::ResumeTicket => {
                            if resume_ticket__.is_some() {
                                return Err(serde::de::Error::duplicate_field("resumeTicket"));
                            }
                            resume_ticket__ = 
                                Some(map_.next_value::<::pbjson::private::BytesDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::ResumeWindowMs => {
                            if resume_window_ms__.is_some() {
                                return Err(serde::de::Error::duplicate_field("resumeWindowMs"));
                            }
                            resume_window_ms__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::User => {
                            if user__.is_some() {
                                return Err(serde::de::Error::duplicate_field("user"));
                            }
                            user__ = Some(map_.next_value()?);
                        }
                        GeneratedField::ObservedAddress => {
                            if observed_address__.is_some() {
                                return Err(serde::de::Error::duplicate_field("observedAddress"));
                            }
                            observed_address__ = Some(map_.next_value()?);
                        }
                        GeneratedField::HeartbeatMs => {
                            if heartbeat_ms__.is_some() {
                                return Err(serde::de::Error::duplicate_field("heartbeatMs"));
                            }
                            heartbeat_ms__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::Limits => {
                            if limits__.is_some() {
                                return Err(serde::de::Error::duplicate_field("limits"));
                            }
                            limits__ = map_.next_value()?;
                        }
                        GeneratedField::Durability => {
                            if durability__.is_some() {
                                return Err(serde::de::Error::duplicate_field("durability"));
                            }
                            durability__ = Some(map_.next_value::<Durability>()? as i32);
                        }
                        GeneratedField::ServerTimeMs => {
                            if server_time_ms__.is_some() {
                                return Err(serde::de::Error::duplicate_field("serverTimeMs"));
                            }
                            server_time_ms__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                        GeneratedField::Resumed => {
                            if resumed__.is_some() {
                                return Err(serde::de::Error::duplicate_field("resumed"));
                            }
                            resumed__ = Some(map_.next_value()?);
                        }
                        GeneratedField::Node => {
                            if node__.is_some() {
                                return Err(serde::de::Error::duplicate_field("node"));
                            }
                            node__ = Some(map_.next_value()?);
                        }
                        GeneratedField::TokenExpiresAtMs => {
                            if token_expires_at_ms__.is_some() {
                                return Err(serde::de::Error::duplicate_field("tokenExpiresAtMs"));
                            }
                            token_expires_at_ms__ = 
                                Some(map_.next_value::<::pbjson::private::NumberDeserialize<_>>()?.0)
                            ;
                        }
                    }
                }
                Ok(Welcome {
                    session_id: session_id__.unwrap_or_default(),
                    resume_ticket: resume_ticket__.unwrap_or_default(),
                    resume_window_ms: resume_window_ms__.unwrap_or_default(),
                    user: user__.unwrap_or_default(),
                    observed_address: observed_address__.unwrap_or_default(),
                    heartbeat_ms: heartbeat_ms__.unwrap_or_default(),
                    limits: limits__,
                    durability: durability__.unwrap_or_default(),
                    server_time_ms: server_time_ms__.unwrap_or_default(),
                    resumed: resumed__.unwrap_or_default(),
                    node: node__.unwrap_or_default(),
                    token_expires_at_ms: token_expires_at_ms__.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_struct("sterna.v1.Welcome", FIELDS, GeneratedVisitor)
    }
}
