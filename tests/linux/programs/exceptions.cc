// C++: exceptions through many frames, containers, strings, virtual calls, iostream, locale-free formatting.
#include <algorithm>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <numeric>
#include <sstream>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

struct Noisy {
	static int alive;
	Noisy() { alive++; }
	~Noisy() { alive--; }
};
int Noisy::alive;
struct Shape { virtual ~Shape() {} virtual double area() const = 0; };
struct Square : Shape { double s; explicit Square(double s) : s(s) {} double area() const override { return s * s; } };
struct Disc : Shape { double r; explicit Disc(double r) : r(r) {} double area() const override { return 3 * r * r; } };

static int dig(int n)
{
	Noisy guard;
	if (n == 0)
		throw std::runtime_error("from the bottom");
	return dig(n - 1) + 1;
}

int main()
{
	for (int i = 0; i < 50; i++)
		try {
			dig(i * 4);
		} catch (const std::exception &e) {
			if (i % 10 == 0)
				std::cout << e.what() << " " << Noisy::alive << "\n";
		}
	try {
		std::vector<int> v(3);
		v.at(5) = 1;
	} catch (const std::out_of_range &) {
		std::cout << "out of range\n";
	}
	try {
		std::vector<long> huge(1UL << 60);
	} catch (const std::exception &e) {
		std::cout << "too long\n";
	}
	try {
		try {
			throw 42;
		} catch (...) {
			throw;
		}
	} catch (int x) {
		std::cout << x << "\n";
	}
	std::map<std::string, int> words;
	std::istringstream text("the quick brown fox jumps over the lazy dog the end");
	for (std::string w; text >> w;)
		words[w]++;
	for (auto &[w, n] : words)
		std::cout << w << ":" << n << " ";
	std::cout << "\n";
	std::unordered_map<int, std::string> table;
	for (int i = 0; i < 20000; i++)
		table[i * 7919 % 100003] = std::to_string(i);
	std::cout << table.size() << " " << table[7919] << "\n";
	std::vector<std::unique_ptr<Shape>> shapes;
	for (int i = 1; i < 100; i++)
		if (i % 2) shapes.push_back(std::make_unique<Square>(i)); else shapes.push_back(std::make_unique<Disc>(i));
	std::cout << std::accumulate(shapes.begin(), shapes.end(), 0.0, [](double a, auto &s) { return a + s->area(); }) << "\n";
	std::vector<int> v(50000);
	std::iota(v.begin(), v.end(), 0);
	std::sort(v.begin(), v.end(), [](int a, int b) { return a * 7919L % 50021 < b * 7919L % 50021; });
	std::cout << v[0] << " " << v[25000] << " " << v.back() << "\n";
	std::function<int(int)> fib = [&](int n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); };
	std::cout << fib(18) << " " << dynamic_cast<Disc *>(shapes[1].get())->r << "\n";
	std::cout << std::flush;
	throw std::logic_error("nobody catches this");
}
