using System.CommandLine;
using System.CommandLine.Completions;
using System.CommandLine.Invocation;
using System.CommandLine.Parsing;
using System.Globalization;

namespace TokTok.Storage.Tdfs.Commands;

/// <summary>What the completion scripts ask for: `tdfs "[suggest:POSITION]" "LINE"` gives the words that may stand at the position, one a line.</summary>
/// <remarks>
/// Options are given to a word that begins with '-' and to no other; so where a path or a name belongs nothing is given, and the shell offers its files.
/// </remarks>
internal sealed class SuggestWords(Directive suggest, ParserConfiguration parser) : SynchronousCommandLineAction
{
    public override bool ClearsParseErrors => true;

    public override int Invoke(ParseResult parseResult)
    {
        string line = parseResult.Tokens.LastOrDefault(static token => token.Type != TokenType.Directive)?.Value ?? "";
        bool isPosition = int.TryParse(parseResult.GetResult(suggest)?.Values is [string at, ..] ? at : null, NumberStyles.None, CultureInfo.InvariantCulture, out int position);
        line = line[..Math.Min(isPosition ? position : line.Length, line.Length)];
        int programEnd = line.IndexOf(' ', StringComparison.Ordinal);
        string words = programEnd < 0 ? "" : line[(programEnd + 1)..];
        bool isOption = words[(words.LastIndexOf(' ') + 1)..].StartsWith('-');
        TextWriter target = parseResult.InvocationConfiguration.Output;
        foreach (CompletionItem item in parseResult.RootCommandResult.Command.Parse(words, parser).GetCompletions(words.Length))
        {
            if (item.Label.StartsWith('-') == isOption && !item.Label.StartsWith('/') && item.Label != "-?")
            {
                target.WriteLine(item.Label);
            }
        }

        return (int)ExitCode.Ok;
    }
}
