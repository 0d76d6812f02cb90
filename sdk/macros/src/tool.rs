use proc_macro2::TokenStream;
use quote::quote;
use syn::ext::IdentExt;
use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::{Attribute, Error, Expr, ExprLit, FnArg, ItemFn, Lit, MetaNameValue, Token};

const SIGNATURE: &str = "#[tool] goes on `async fn name(arguments: T) -> Result<R, AgentError>`: one argument, whose \
    fields are the tool's parameters; not generic";

pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> syn::Result<TokenStream> {
    let function: ItemFn =
        syn::parse2(item.clone()).map_err(|_| Error::new_spanned(item, SIGNATURE))?;
    let signature = &function.sig;
    let is_plain = signature.asyncness.is_some()
        && signature.generics.params.is_empty()
        && signature.unsafety.is_none()
        && signature.inputs.len() == 1
        && matches!(signature.inputs.first(), Some(FnArg::Typed(_)));
    if !is_plain {
        return Err(Error::new_spanned(signature, SIGNATURE));
    }
    let ident = &signature.ident;
    let Said { name, description } = Said::parse(arguments)?;
    let name = name.unwrap_or_else(|| ident.unraw().to_string());
    let legal = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    if !(1..=64).contains(&name.len()) || !name.chars().all(legal) {
        let sentence =
            "a tool's name is 1 to 64 of letters, digits, `_` and `-`: #[tool(name = \"…\")]";
        return Err(Error::new_spanned(ident, sentence));
    }
    let description = description.unwrap_or_else(|| documentation(&function.attrs));
    if description.is_empty() {
        let sentence = "a model has to know what the tool does: write a doc comment, or #[tool(description = \"…\")]";
        return Err(Error::new_spanned(ident, sentence));
    }
    let visibility = &function.vis;
    let (documents, others): (Vec<_>, Vec<_>) = function
        .attrs
        .iter()
        .partition(|attribute| attribute.path().is_ident("doc"));
    let body = &function.block;
    Ok(quote! {
        #(#documents)*
        #[allow(non_camel_case_types, reason = "it is named like the function that it was")]
        #[derive(Clone, Copy)]
        #visibility struct #ident;

        impl #ident {
            fn tool() -> ::dormouse_sdk::FunctionTool {
                #(#others)*
                #signature #body
                ::dormouse_sdk::FunctionTool::new(#name, #description, #ident)
            }
        }

        impl ::dormouse_sdk::BaseTool for #ident {
            fn declaration(&self) -> ::dormouse_sdk::ToolDeclaration {
                #ident::tool().declaration()
            }

            fn run_async(
                &self,
                arguments: ::dormouse_sdk::Json,
            ) -> ::std::pin::Pin<::std::boxed::Box<dyn ::std::future::Future<
                Output = ::std::result::Result<::dormouse_sdk::Json, ::dormouse_sdk::AgentError>,
            > + '_>> {
                ::std::boxed::Box::pin(async move { #ident::tool().run_async(arguments).await })
            }
        }
    })
}

/// What the attribute says.
#[derive(Default)]
struct Said {
    name: Option<String>,
    description: Option<String>,
}

impl Said {
    fn parse(arguments: TokenStream) -> syn::Result<Self> {
        let entries = Punctuated::<MetaNameValue, Token![,]>::parse_terminated.parse2(arguments)?;
        let mut said = Self::default();
        for entry in entries {
            let place = if entry.path.is_ident("name") {
                &mut said.name
            } else if entry.path.is_ident("description") {
                &mut said.description
            } else {
                let sentence = "#[tool] takes name and description";
                return Err(Error::new_spanned(entry.path, sentence));
            };
            let Expr::Lit(ExprLit {
                lit: Lit::Str(text),
                ..
            }) = &entry.value
            else {
                return Err(Error::new_spanned(entry.value, "this is a text"));
            };
            if place.replace(text.value()).is_some() {
                return Err(Error::new_spanned(entry.path, "this is given twice"));
            }
        }
        Ok(said)
    }
}

/// The text of a doc comment.
fn documentation(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| {
        let pair = attribute.meta.require_name_value().ok()?;
        match &pair.value {
            Expr::Lit(ExprLit {
                lit: Lit::Str(text),
                ..
            }) if pair.path.is_ident("doc") => Some(text.value().trim().to_owned()),
            _ => None,
        }
    });
    let lines: Vec<String> = lines.collect();
    lines.join("\n").trim().to_owned()
}
