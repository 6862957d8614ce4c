using System.Runtime.InteropServices;
using System.Text;
using TokTok.Storage.Blocks.Disks;
using TokTok.Storage.Core;
using TokTok.Storage.Tdfs.Commands;
using TokTok.Storage.Tdfs.Composition;
using TokTok.Storage.Tdfs.Output;

// The first Ctrl-C cancels and the verb ends in order; the second ends the process at once: everything durable survives that too.
using CancellationTokenSource interrupted = new();
void Interrupt(PosixSignalContext signal)
{
    signal.Cancel = !interrupted.IsCancellationRequested;
    interrupted.Cancel();
}

using PosixSignalRegistration onInterrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Interrupt);
using PosixSignalRegistration onTerminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Interrupt);

UTF8Encoding utf8 = new(encoderShouldEmitUTF8Identifier: false);
using DataStream dataBytes = new(Console.OpenStandardOutput());
using StreamWriter data = new(dataBytes, utf8, bufferSize: 16 * 1024) { AutoFlush = false };
using StreamWriter talk = new(new TalkStream(Console.OpenStandardError()), utf8) { AutoFlush = true };
VerbContext? context = null;
void Say(string line)
{
    talk.WriteLine("tdfs: " + TerminalText.Clean(line));
    context?.Log?.Note(line);
}

context = new VerbContext
{
    Output = new CommandOutput
    {
        Data = data,
        DataBytes = dataBytes,
        Talk = talk,
        Clock = TimeProvider.System,
        TerminalWidth = Console.IsErrorRedirected ? null : () => Math.Max(20, Console.WindowWidth),
    },
    Environment = Environment.GetEnvironmentVariable,
    Host = new StoreHost(PosixDisk.Instance, SystemRandom.Instance, TimeProvider.System, Environment.GetEnvironmentVariable, Say),
};
return await CommandTree.RunAsync(context, args, interrupted.Token).ConfigureAwait(false);
