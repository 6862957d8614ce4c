if (args is ["kernels", .. string[] rest])
{
    int rounds = rest.Length > 0 ? int.Parse(rest[0], System.Globalization.CultureInfo.InvariantCulture) : 5;
    Micro.KernelTable.Run(rounds, rest.Length > 1 ? rest[1] : "");
}
else
{
    BenchmarkDotNet.Running.BenchmarkSwitcher.FromAssembly(typeof(Program).Assembly).Run(args);
}
