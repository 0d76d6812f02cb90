use proc_macro2::TokenStream;
use quote::quote;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{DeriveInput, Error, Ident, LitStr, Token, bracketed, token};

pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> syn::Result<TokenStream> {
    let Metadata {
        id,
        name,
        description,
        tags,
        examples,
        input_modes,
        output_modes,
    } = syn::parse2(arguments)?;
    let declared: DeriveInput = syn::parse2(item.clone()).map_err(|_| {
        Error::new_spanned(
            item,
            "#[skill] goes on the type that implements SkillHandler",
        )
    })?;
    let tags = tags.unwrap_or_else(|| vec![id.clone()]);
    let type_name = &declared.ident;
    let (impl_generics, type_generics, where_clause) = declared.generics.split_for_impl();
    Ok(quote! {
        #declared

        impl #impl_generics ::dormouse_sdk::RegisteredSkill for #type_name #type_generics #where_clause {
            fn metadata() -> ::dormouse_sdk::SkillMetadata {
                fn list(texts: &[&str]) -> ::std::vec::Vec<::std::string::String> {
                    texts.iter().map(::std::string::ToString::to_string).collect()
                }
                ::dormouse_sdk::SkillMetadata {
                    id: #id.into(),
                    name: #name.into(),
                    description: #description.into(),
                    tags: list(&[#(#tags),*]),
                    examples: list(&[#(#examples),*]),
                    input_modes: list(&[#(#input_modes),*]),
                    output_modes: list(&[#(#output_modes),*]),
                }
            }
        }
    })
}

struct Metadata {
    id: LitStr,
    name: LitStr,
    description: LitStr,
    tags: Option<Vec<LitStr>>,
    examples: Vec<LitStr>,
    input_modes: Vec<LitStr>,
    output_modes: Vec<LitStr>,
}

impl Parse for Metadata {
    fn parse(input: ParseStream) -> syn::Result<Self> {
        let start = input.span();
        let mut entries: Vec<Entry> = Punctuated::<Entry, Token![,]>::parse_terminated(input)?
            .into_iter()
            .collect();
        for (index, entry) in entries.iter().enumerate() {
            if entries[..index]
                .iter()
                .any(|earlier| earlier.key == entry.key)
            {
                return Err(Error::new_spanned(
                    &entry.key,
                    format!("`{}` is given twice", entry.key),
                ));
            }
        }
        let mut take = |key: &str| {
            let index = entries.iter().position(|entry| entry.key == key)?;
            Some(entries.swap_remove(index))
        };
        let mut text = |key: &str| match take(key) {
            Some(entry) => entry.into_text(),
            None => Err(Error::new(start, format!("#[skill] needs `{key} = \"…\"`"))),
        };
        let (id, name, description) = (text("id")?, text("name")?, text("description")?);
        let mut list = |key: &str| take(key).map(Entry::into_list).transpose();
        let metadata = Metadata {
            id,
            name,
            description,
            tags: list("tags")?,
            examples: list("examples")?.unwrap_or_default(),
            input_modes: list("input_modes")?.unwrap_or_default(),
            output_modes: list("output_modes")?.unwrap_or_default(),
        };
        match entries.first() {
            None => Ok(metadata),
            Some(unknown) => Err(Error::new_spanned(
                &unknown.key,
                format!(
                    "`{}` is not known here; #[skill] takes id, name, description, tags, examples, input_modes, output_modes",
                    unknown.key
                ),
            )),
        }
    }
}

struct Entry {
    key: Ident,
    value: Value,
}

enum Value {
    Text(LitStr),
    List(Vec<LitStr>),
}

impl Entry {
    fn into_text(self) -> syn::Result<LitStr> {
        match self.value {
            Value::Text(text) if !text.value().is_empty() => Ok(text),
            _ => Err(Error::new_spanned(
                &self.key,
                format!("`{}` is a text that is not empty", self.key),
            )),
        }
    }

    fn into_list(self) -> syn::Result<Vec<LitStr>> {
        match self.value {
            Value::List(texts) => Ok(texts),
            Value::Text(_) => Err(Error::new_spanned(
                &self.key,
                format!("`{}` is a list: [\"…\", \"…\"]", self.key),
            )),
        }
    }
}

impl Parse for Entry {
    fn parse(input: ParseStream) -> syn::Result<Self> {
        let key: Ident = input.parse()?;
        input.parse::<Token![=]>()?;
        let value = if input.peek(token::Bracket) {
            let list;
            bracketed!(list in input);
            let texts = Punctuated::<LitStr, Token![,]>::parse_terminated(&list)?;
            Value::List(texts.into_iter().collect())
        } else {
            Value::Text(input.parse()?)
        };
        Ok(Entry { key, value })
    }
}
