"""Secret stores for the variables of JSON templates: those that HCL2's functions ask."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from goldsmith.errors import SourceRange
from goldsmith.gotemplate.errors import TemplateFunctionError
from goldsmith.gotemplate.packer_functions import SECRET_STORES
from goldsmith.template.hcl2.functions import FUNCTIONS, CallContext, FunctionError
from goldsmith.values.value import string
from goldsmith.values.world import World


def secret_stores(
    world: World, at: SourceRange, seen: set[str]
) -> Mapping[str, Callable[..., str]]:
    """The functions by name; what they answer is added to `seen`. They raise GoTemplateError."""

    def asked_by(name: str) -> Callable[..., str]:
        def ask(*words: str) -> str:
            context = CallContext(world, ".", at)
            try:
                answer = FUNCTIONS[name].call(context, [string(word) for word in words]).text
            except FunctionError as error:
                raise TemplateFunctionError(str(error)) from error
            seen.add(answer)
            return answer

        return ask

    return {name: asked_by(name) for name in SECRET_STORES}
