using System.CommandLine;

namespace TokTok.Storage.Tdfs.Commands;

/// <summary>`tdfs completion SHELL`: the script that makes a shell complete tdfs's words.</summary>
/// <remarks>The scripts ask tdfs itself ("[suggest:POSITION]"), so they never fall behind the verbs; files are completed by the shell where tdfs knows nothing.</remarks>
internal static class CompletionVerb
{
    private const string Bash = """
        # tdfs completion for bash: put this into ~/.bashrc:  source <(tdfs completion bash)
        _tdfs() {
            local IFS=$'\n'
            local current="${COMP_WORDS[COMP_CWORD]}"
            COMPREPLY=( $(compgen -W "$(tdfs "[suggest:${COMP_POINT}]" "${COMP_LINE}" 2>/dev/null)" -- "${current}") )
        }
        complete -o default -F _tdfs tdfs

        """;

    private const string Zsh = """
        #compdef tdfs
        # tdfs completion for zsh: put this into ~/.zshrc after compinit:  source <(tdfs completion zsh)
        _tdfs() {
            local -a words_found
            words_found=("${(@f)$(tdfs "[suggest:${#BUFFER}]" "${BUFFER}" 2>/dev/null)}")
            words_found=(${words_found:#})
            if (( ${#words_found} )); then compadd -- "${words_found[@]}"; fi
            _files
        }
        compdef _tdfs tdfs

        """;

    private const string Fish = """
        # tdfs completion for fish:  tdfs completion fish > ~/.config/fish/completions/tdfs.fish
        function __tdfs_suggest
            set -l line (commandline -cp)
            tdfs "[suggest:"(string length -- "$line")"]" "$line" 2>/dev/null
        end
        complete -c tdfs -a '(__tdfs_suggest)'

        """;

    internal static Verb Create(VerbContext context)
    {
        Argument<string> shell = new("shell") { Description = "bash, zsh or fish" };
        shell.AcceptOnlyFromAmong("bash", "zsh", "fish");
        Verb verb = new(
            "completion",
            "Prints the completion script of a shell",
            "source <(tdfs completion bash)    # for this session",
            "tdfs completion fish > ~/.config/fish/completions/tdfs.fish")
        {
            shell,
        };
        verb.Does(context, (run, _) =>
        {
            if (run.Output.IsJson)
            {
                throw new UserError(ExitCode.Usage, "found --json with completion, expected none: completion writes a shell's script");
            }

            run.Output.Data.Write(run.Get(shell) switch { "bash" => Bash, "zsh" => Zsh, _ => Fish });
            run.Output.Data.Flush();
            return Task.FromResult(ExitCode.Ok);
        });
        return verb;
    }
}
