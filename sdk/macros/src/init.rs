use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, ItemFn, ReturnType};

const SIGNATURE: &str =
    "#[init] goes on `fn init()`: no arguments, no result, not async, not generic";

pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> syn::Result<TokenStream> {
    if !arguments.is_empty() {
        return Err(Error::new_spanned(arguments, "#[init] takes no arguments"));
    }
    let function: ItemFn =
        syn::parse2(item.clone()).map_err(|_| Error::new_spanned(item, SIGNATURE))?;
    let signature = &function.sig;
    let is_plain = signature.inputs.is_empty()
        && signature.generics.params.is_empty()
        && signature.asyncness.is_none()
        && signature.unsafety.is_none()
        && matches!(signature.output, ReturnType::Default);
    if !is_plain {
        return Err(Error::new_spanned(signature, SIGNATURE));
    }
    let name = &signature.ident;
    Ok(quote! {
        #function

        const _: () = {
            // Natively nobody calls it, and it is used all the same.
            #[cfg(not(target_family = "wasm"))]
            const _: fn() = #name;

            #[cfg(target_family = "wasm")]
            #[allow(unsafe_code, reason = "exports of a WebAssembly module have fixed names")]
            #[unsafe(export_name = "wizer-initialize")]
            extern "C" fn initialise() {
                #name()
            }
        };
    })
}
