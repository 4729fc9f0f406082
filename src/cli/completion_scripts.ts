/**
 * What shells are told: to ask `ibackup __complete LINE`, which prints one candidate a line, after
 * a tab what it is. Where it knows nothing they complete the names of files.
 */
export const COMPLETION_SCRIPTS = {
  // Bash takes "=" and ":" for the ends of words, so what stands before them is already there.
  bash: `# bash completion of ibackup: \`source <(ibackup completion bash)\`
_ibackup() {
  local line=\${COMP_LINE:0:COMP_POINT} candidate before
  local word=\${line##*[[:space:]]} current=\${COMP_WORDS[COMP_CWORD]}
  [[ $current == [=:] ]] && current=
  before=\${word%"$current"}
  COMPREPLY=()
  while IFS=$'\\t' read -r candidate _; do
    COMPREPLY+=("\${candidate#"$before"}")
  done < <("$1" __complete -- "$line" 2>/dev/null)
}
complete -o bashdefault -o default -F _ibackup ibackup
`,
  zsh: `#compdef ibackup
# zsh completion of ibackup: \`source <(ibackup completion zsh)\`, or as _ibackup in a folder of $fpath
_ibackup() {
  local line
  local -a values shown
  for line in \${(f)"$(\${(Q)words[1]} __complete -- "\${(j: :)words[1,CURRENT]}" 2>/dev/null)}"}; do
    values+=("\${line%%$'\\t'*}")
    shown+=("\${line/$'\\t'/  -- }")
  done
  if (( $#values )); then compadd -l -d shown -a values; else _files; fi
}
if [[ \${funcstack[1]} == _ibackup ]]; then _ibackup "$@"; else compdef _ibackup ibackup; fi
`,
  fish: `# fish completion of ibackup: \`ibackup completion fish > ~/.config/fish/completions/ibackup.fish\`
function __ibackup_complete
    set -l found (ibackup __complete -- (commandline --current-process --cut-at-cursor | string collect) 2>/dev/null)
    if test (count $found) -gt 0
        printf '%s\\n' $found
    else
        __fish_complete_path (commandline --current-token)
    end
end
complete --command ibackup --no-files --arguments '(__ibackup_complete)'
`,
} as const;
