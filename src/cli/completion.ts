/**
 * Completion for bash, zsh and fish, made from the commands themselves: names, options, and routes as the running proxy knows them. Pure.
 */

import { usage } from "./commands.ts";

/** A command as completion needs it. */
export interface Completed {
  readonly name: string;
  readonly about: string;
  /** Long options, e.g. `--reason`. */
  readonly options: readonly { readonly flag: string; readonly about: string }[];
  /** Whether its first argument is a route. */
  readonly takesRoute: boolean;
  readonly inner: readonly string[];
}

/** The shells that there is a script for. */
const SHELLS = ["bash", "zsh", "fish"] as const;

/** The script for `shell`, to be read by it at its start. Throws SPLIT_USAGE for another one. */
export function completionScript(shell: string, commands: readonly Completed[]): string {
  if (shell === "bash") return bash(commands);
  if (shell === "zsh") return zsh(commands);
  if (shell === "fish") return fish(commands);
  throw usage(`there is completion for ${SHELLS.join(", ")}, not for ${shell}`);
}

/** Names of the running proxy's routes, and nothing when it does not answer. */
const ROUTES = `sluice status --json 2>/dev/null | sed -n 's/^      "name": "\\(.*\\)",$/\\1/p'`;

function bash(commands: readonly Completed[]): string {
  const cases = commands.map(({ name, options, inner, takesRoute }) => {
    const words = [...inner, ...options.map(({ flag }) => flag)].join(" ");
    const routes = takesRoute ? " $(_sluice_routes)" : "";
    return `    ${name}) words="${words}${routes}" ;;`;
  });
  return `# sluice completion bash > /etc/bash_completion.d/sluice
_sluice_routes() { ${ROUTES}; }
_sluice() {
  local words
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    words="${commands.map(({ name }) => name).join(" ")}"
  else
    case "\${COMP_WORDS[1]}" in
${cases.join("\n")}
    *) words="" ;;
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _sluice sluice
`;
}

function zsh(commands: readonly Completed[]): string {
  const names = commands.map(({ name, about }) => `    '${name}:${quiet(about, /[':]/g)}'`);
  const cases = commands.map(({ name, options, inner, takesRoute }) => {
    const flags = options.map(({ flag, about }) => `'${flag}[${quiet(about, /['[\]]/g)}]'`);
    const first = takesRoute
      ? [`"1:route:($(_sluice_routes))"`]
      : inner.length > 0
        ? [`'1:what:(${inner.join(" ")})'`]
        : [];
    const words = [...first, ...flags, "'*:file:_files'"].join(" ");
    return `    ${name}) _arguments ${words} ;;`;
  });
  return `#compdef sluice
# sluice completion zsh > "\${fpath[1]}/_sluice"
_sluice_routes() { ${ROUTES}; }
_sluice() {
  local -a commands
  commands=(
${names.join("\n")}
  )
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  local command="$words[2]"
  shift words
  (( CURRENT-- ))
  case "$command" in
${cases.join("\n")}
  esac
}
_sluice "$@"
`;
}

function fish(commands: readonly Completed[]): string {
  const lines = commands.flatMap(({ name, about, options, inner, takesRoute }) => [
    `complete -c sluice -n __fish_use_subcommand -a ${name} -d '${quiet(about, /'/g)}'`,
    ...inner.map((each) => `complete -c sluice -n '__fish_seen_subcommand_from ${name}' -a ${each}`),
    ...(takesRoute
      ? [`complete -c sluice -n '__fish_seen_subcommand_from ${name}' -a "(__sluice_routes)"`]
      : []),
    ...options.map(
      ({ flag, about: what }) =>
        `complete -c sluice -n '__fish_seen_subcommand_from ${name}' -l ${flag.slice(2)} -d '${quiet(what, /'/g)}'`,
    ),
  ]);
  return `# sluice completion fish > ~/.config/fish/completions/sluice.fish
function __sluice_routes
  ${ROUTES}
end
${lines.join("\n")}
`;
}

/** A description without what would end a quotation in the shell's own words. */
function quiet(text: string, unfit: RegExp): string {
  return text.replaceAll(unfit, "");
}
