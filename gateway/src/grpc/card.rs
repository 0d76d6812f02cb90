//! A card as protobuf.

use super::{pb, value};
use a2a::{
    AgentCapabilities, AgentCard, AgentCardSignature, AgentExtension, AgentInterface,
    AgentProvider, AgentSkill, SecurityRequirement, SecurityScheme,
};

pub(super) fn message(card: AgentCard) -> pb::AgentCard {
    let schemes = card.security_schemes.unwrap_or_default().into_iter();
    let signatures = card.signatures.unwrap_or_default().into_iter();
    pb::AgentCard {
        name: card.name,
        description: card.description,
        supported_interfaces: card
            .supported_interfaces
            .into_iter()
            .map(interface)
            .collect(),
        provider: card.provider.map(provider),
        version: card.version,
        documentation_url: card.documentation_url,
        capabilities: Some(capabilities(card.capabilities)),
        security_schemes: schemes.map(|(name, one)| (name, scheme(one))).collect(),
        security_requirements: requirements(card.security_requirements),
        default_input_modes: card.default_input_modes,
        default_output_modes: card.default_output_modes,
        skills: card.skills.into_iter().map(skill).collect(),
        signatures: signatures.map(signature).collect(),
        icon_url: card.icon_url,
    }
}

fn interface(interface: AgentInterface) -> pb::AgentInterface {
    pb::AgentInterface {
        url: interface.url,
        protocol_binding: interface.protocol_binding,
        tenant: interface.tenant.unwrap_or_default(),
        protocol_version: interface.protocol_version,
    }
}

fn provider(provider: AgentProvider) -> pb::AgentProvider {
    pb::AgentProvider {
        url: provider.url,
        organization: provider.organization,
    }
}

fn capabilities(capabilities: AgentCapabilities) -> pb::AgentCapabilities {
    let extensions = capabilities.extensions.unwrap_or_default().into_iter();
    pb::AgentCapabilities {
        streaming: capabilities.streaming,
        push_notifications: capabilities.push_notifications,
        extensions: extensions.map(extension).collect(),
        extended_agent_card: capabilities.extended_agent_card,
    }
}

fn extension(extension: AgentExtension) -> pb::AgentExtension {
    pb::AgentExtension {
        uri: extension.uri,
        description: extension.description.unwrap_or_default(),
        required: extension.required.unwrap_or_default(),
        params: extension.params.map(value::fields),
    }
}

/// The platform has one scheme, and puts no other on a card.
fn scheme(scheme: SecurityScheme) -> pb::SecurityScheme {
    let SecurityScheme::HttpAuth(http) = scheme else {
        unreachable!("a card names a scheme that this platform does not have: {scheme:?}");
    };
    pb::SecurityScheme {
        scheme: Some(pb::security_scheme::Scheme::HttpAuthSecurityScheme(
            pb::HttpAuthSecurityScheme {
                description: http.description.unwrap_or_default(),
                scheme: http.scheme,
                bearer_format: http.bearer_format.unwrap_or_default(),
            },
        )),
    }
}

fn requirements(requirements: Option<Vec<SecurityRequirement>>) -> Vec<pb::SecurityRequirement> {
    let requirements = requirements.unwrap_or_default().into_iter();
    let requirement = |requirement: SecurityRequirement| pb::SecurityRequirement {
        schemes: requirement
            .into_iter()
            .map(|(name, list)| (name, pb::StringList { list }))
            .collect(),
    };
    requirements.map(requirement).collect()
}

fn skill(skill: AgentSkill) -> pb::AgentSkill {
    pb::AgentSkill {
        id: skill.id,
        name: skill.name,
        description: skill.description,
        tags: skill.tags,
        examples: skill.examples.unwrap_or_default(),
        input_modes: skill.input_modes.unwrap_or_default(),
        output_modes: skill.output_modes.unwrap_or_default(),
        security_requirements: requirements(skill.security_requirements),
    }
}

fn signature(signature: AgentCardSignature) -> pb::AgentCardSignature {
    pb::AgentCardSignature {
        protected: signature.protected,
        signature: signature.signature,
        header: signature.header.map(value::fields),
    }
}
