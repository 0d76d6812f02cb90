use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Error, ItemFn, ReturnType};

const SIGNATURE: &str = "#[entrypoint] goes on `fn configure_agents() -> Vec<AgentDefinition>`: no arguments, not async, not generic";

pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> syn::Result<TokenStream> {
    if !arguments.is_empty() {
        return Err(Error::new_spanned(
            arguments,
            "#[entrypoint] takes no arguments",
        ));
    }
    let function: ItemFn =
        syn::parse2(item.clone()).map_err(|_| Error::new_spanned(item, SIGNATURE))?;
    let signature = &function.sig;
    let is_plain = signature.inputs.is_empty()
        && signature.generics.params.is_empty()
        && signature.asyncness.is_none()
        && signature.unsafety.is_none();
    let ReturnType::Type(_, returned) = &signature.output else {
        return Err(Error::new_spanned(signature, SIGNATURE));
    };
    if !is_plain {
        return Err(Error::new_spanned(signature, SIGNATURE));
    }

    let name = &signature.ident;
    // The call carries the span of the return type, so that rustc points there if it is another.
    let call = quote_spanned! { returned.span() => { let agents: ::std::vec::Vec<::dormouse_sdk::AgentDefinition> = #name(); agents } };
    Ok(quote! {
        #function

        // Two macros of one name at the root of a crate do not compile, and rustc prints the name.
        #[doc(hidden)]
        #[macro_export]
        macro_rules! a_crate_has_only_one_dormouse_entrypoint {
            () => {};
        }

        const _: () = {
            struct Agents;

            impl ::dormouse_sdk::__private::Entrypoint for Agents {
                fn agents() -> ::std::vec::Vec<::dormouse_sdk::AgentDefinition> {
                    #call
                }
            }

            #[cfg(target_family = "wasm")]
            #[allow(unsafe_code, reason = "exports of a WebAssembly module have fixed names")]
            const _: () = {
                ::dormouse_sdk::__private::bindings::export!(Agents);
            };
        };
    })
}
